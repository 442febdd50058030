"""Every language preset runs a real program, through the whole platform."""

from __future__ import annotations

import os

import pytest

from accord.core.languages import PRESETS
from tests.acceptance.waiting import until

PROGRAMS = {
    "c": '#include <stdio.h>\nint main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a * b); }',
    "cpp": "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a * b << '\\n'; }",
    "python": "a, b = map(int, input().split())\nprint(a * b)",
    "javascript": (
        "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number);\n"
        "console.log(a * b);"
    ),
    "java": (
        "import java.util.Scanner;\n"
        "public class Main { public static void main(String[] none) {\n"
        "  Scanner in = new Scanner(System.in); System.out.println(in.nextInt() * in.nextInt()); } }"
    ),
    "go": (
        'package main\nimport "fmt"\n'
        "func main() { var a, b int; fmt.Scan(&a, &b); fmt.Println(a * b) }"
    ),
    "rust": (
        "use std::io;\nfn main() { let mut line = String::new(); io::stdin().read_line(&mut line).unwrap();\n"
        "let n: Vec<i64> = line.split_whitespace().map(|w| w.parse().unwrap()).collect();\n"
        'println!("{}", n[0] * n[1]); }'
    ),
    "ruby": "a, b = gets.split.map(&:to_i)\nputs a * b",
    "perl": 'my ($a, $b) = split / /, <STDIN>;\nprint $a * $b, "\\n";',
    "bash": "read a b\necho $((a * b))",
}


def test_there_is_a_program_for_every_preset():
    assert PROGRAMS.keys() == PRESETS.keys()


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_in(language, platform):
    announced = until(lambda: platform.get("/api/v1/executors")[1]["items"], what="an executor")
    if language not in announced[0]["languages"]:
        told = f"no {language} here; make deps-system installs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    submitted = {"language": language, "source": PROGRAMS[language], "stdin": "6 7"}
    status, task = platform.post("/api/v1/tasks", submitted)
    assert status == 201
    _, task = platform.get(f"/api/v1/tasks/{task['id']}?wait=60")
    assert (task["status"], task["stdout"]) == ("success", "42\n"), task
