"""Every file under deploy/ is used by a test and named in the documentation."""

from pathlib import Path

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


def test_every_file_is_tested_and_documented():
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    sources = [path for folder in ("deploy", "prometheus", "live") for path in (ROOT / "tests" / folder).glob("*.py")]
    tests = "".join(path.read_text() for path in sources)
    manifests = (DEPLOY / "kubernetes/kustomization.yaml").read_text()
    document = (ROOT / "docs/deploy.md").read_text()
    assert len(files) >= 15
    for path in files:
        # The Kubernetes tests read every file that the kustomization names.
        assert path.name in tests + manifests, path
        relative = str(path.relative_to(DEPLOY.parent))
        assert relative in document or f"{Path(relative).parent}/" in document, path
