// Draws one tile of the Mandelbrot set: tile X Y, of GRID by GRID, as tile.ppm.
#include <cmath>
#include <cstdio>
#include <cstdlib>

constexpr int GRID = 8, SIDE = 96;                        // tiles in a row; pixels in a tile's row
constexpr double LEFT = -2.05, TOP = 1.28, WIDTH = 2.56;  // what the whole picture shows
constexpr int LIMIT = 2000, FINE = 2;                     // iterations; samples in a pixel's row

// How fast c leaves: the iteration, with a fraction that makes the colours run smoothly; -1 for never.
double escape(double cx, double cy) {
    double x = 0, y = 0;
    for (int n = 0; n < LIMIT; n++) {
        double xx = x * x, yy = y * y;
        if (xx + yy > 256) return n + 1 - std::log2(std::log2(xx + yy) / 2);
        y = 2 * x * y + cy;
        x = xx - yy + cx;
    }
    return -1;
}

void add_colour(double n, double colour[3]) {
    if (n < 0) return;  // the set itself is black
    double t = 0.45 * std::sqrt(n);
    const double phase[3] = {2.4, 3.1, 3.6};
    for (int i = 0; i < 3; i++) colour[i] += 0.5 + 0.5 * std::cos(2.2 * t + phase[i]);
}

int main(int argc, char** argv) {
    if (argc != 3) return std::fputs("usage: tile X Y\n", stderr), 2;
    const int left = std::atoi(argv[1]) * SIDE, top = std::atoi(argv[2]) * SIDE;
    const double step = WIDTH / (GRID * SIDE * FINE);
    std::FILE* out = std::fopen("tile.ppm", "wb");
    if (!out) return std::perror("tile.ppm"), 1;
    std::fprintf(out, "P6 %d %d 255\n", SIDE, SIDE);
    for (int row = top; row < top + SIDE; row++)
        for (int column = left; column < left + SIDE; column++) {
            double colour[3] = {0, 0, 0};
            for (int v = 0; v < FINE; v++)
                for (int u = 0; u < FINE; u++)
                    add_colour(escape(LEFT + (column * FINE + u + 0.5) * step,
                                      TOP - (row * FINE + v + 0.5) * step), colour);
            for (double c : colour) std::fputc(int(255 * c / (FINE * FINE) + 0.5), out);
        }
    std::printf("tile %s,%s\n", argv[1], argv[2]);
    return std::fclose(out) == 0 ? 0 : 1;
}
