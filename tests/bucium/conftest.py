import pytest

from tests.kit.face import Face


@pytest.fixture
def face(capsys: pytest.CaptureFixture[str]) -> Face:
    return Face(capsys)
