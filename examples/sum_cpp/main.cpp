// Reads numbers until the input ends, and prints how many there were, their sum and the largest.
#include <algorithm>
#include <iostream>

int main() {
    long long number, sum = 0, largest = 0;
    int count = 0;
    while (std::cin >> number) {
        largest = count == 0 ? number : std::max(largest, number);
        sum += number;
        ++count;
    }
    std::cout << count << " numbers, sum " << sum << ", largest " << largest << '\n';
}
