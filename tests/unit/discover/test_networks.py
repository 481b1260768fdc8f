"""What the networks learn from: published truth is read as it stands, and left out when asked."""

import gzip
import json

from cronos.discover.model import Sem
from cronos.discover.networks import published
from cronos.discover.synthetic import line, samples
from cronos.discover.tagging import fields_of


def written(folder, name, seed):
    with gzip.open(folder / f"{name}.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(line(sample)) + "\n" for sample in samples(seed, 20))


def test_published_protocols_are_read_with_their_truth(tmp_path):
    written(tmp_path, "one", 1)
    written(tmp_path, "two", 2)

    (only,) = published(tmp_path, left_out=["two"])

    assert (only.name, only.real) == ("one", True)
    sample = samples(1, 20)[0]
    truth = [(f.offset, f.length, Sem(f.sem)) for f in sample.fields]
    assert any(fields_of(tags.tolist()) == truth for _, tags in only.rows)


def test_no_folder_gives_no_lessons(tmp_path):
    assert list(published(tmp_path / "absent")) == []
