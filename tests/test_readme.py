"""Every command of the README and its Python, run as written."""

import os
import re
import subprocess

from tests.conftest import BIN, ROOT


def test_commands_and_python_of_the_readme_run(tmp_path):
    text = (ROOT / "README.md").read_text()
    (tmp_path / "dataloaders").symlink_to(ROOT / "dataloaders")
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    blocks = re.findall(r"(?:^    .*\n)+", text, re.M)
    commands = [b for b in blocks if re.match(r"    (kipoi|regzoo) ", b)]
    commands += [f"python <<'END'\n{code}END" for code in re.findall(r"```python\n(.*?)```", text, re.S)]
    assert len(commands) == 6
    for command in commands:
        done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    made = {"out.tsv", "out.bedgraph", "scored.vcf", "scores.tsv", "locus.png"}
    assert made <= set(os.listdir(tmp_path))
