"""What the executors of a cluster share; most of it is told in their own stories."""

import itertools

import msgspec
import pytest
from tests.integration.doubles.kubernetes import TOKEN, KubernetesDouble
from tests.integration.key_services import Gate, secret_file

from cronos.errors import CronosError
from cronos.link.rest import path
from cronos.platforms.cluster import Cluster, ClusterConfig, Meta


class Node(msgspec.Struct, frozen=True):
    metadata: Meta


NODE = path("api", "v1", "nodes", "worker-1")
NODES = path("api", "v1", "nodes")


@pytest.fixture
def cluster(tmp_path):
    double = KubernetesDouble()
    double.add_node("worker-1")
    with double.serving():
        config = ClusterConfig(url=double.url(), token_file=secret_file(tmp_path / "t", TOKEN))
        yield Cluster(config, Gate(), "kubernetes"), double


def test_a_change_is_made_for_what_is_there_and_for_nothing_older(cluster):
    asked, double = cluster

    def look():
        there = asked.get(NODE, Node)
        if next(looks) < 2:  # somebody is quicker, twice
            double.objects["nodes", "", "worker-1"]["metadata"]["resourceVersion"] = "999"
            double.objects["nodes", "", "worker-1"]["metadata"]["labels"] = {"theirs": "yes"}
        return there

    looks = itertools.count()
    asked.patch(NODE, look, lambda _: {"metadata": {"labels": {"ours": "yes"}}}, needed=True)
    labels = double.objects["nodes", "", "worker-1"]["metadata"]["labels"]
    assert labels == {"theirs": "yes", "ours": "yes"}


def test_what_is_gone_is_an_error_only_where_it_is_needed(cluster):
    asked, _ = cluster
    asked.patch(NODE, lambda: None, lambda _: {}, needed=False)
    with pytest.raises(CronosError, match="it is gone"):
        asked.patch(NODE, lambda: None, lambda _: {}, needed=True)


def test_a_list_without_an_end_is_given_up(cluster):
    asked, double = cluster
    double.answer = lambda *_: {"items": [], "metadata": {"continue": "more"}}
    with pytest.raises(CronosError, match=r"10,000"):
        asked.marks(NODES, "cronos/cordon")
    assert len(double.seen) == 100
