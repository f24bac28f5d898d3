"""What surrounds Ray Train's own bookkeeping."""

import pytest

from rbft_ray.runtime.training import CHECKPOINTS_DIR, SNAPSHOT_FILE, _drop_broken_snapshot


@pytest.mark.parametrize(("content", "kept"), [("", False), ('{"ray_version": "2', False), ('{"a": 1}', True)])
def test_a_list_of_checkpoints_that_a_full_disk_cut_short_is_dropped(tmp_path, content, kept):
    snapshot = tmp_path / CHECKPOINTS_DIR / SNAPSHOT_FILE
    snapshot.parent.mkdir()
    snapshot.write_text(content)
    _drop_broken_snapshot(str(tmp_path))
    assert snapshot.exists() is kept
