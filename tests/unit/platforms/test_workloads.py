"""The restoring of workloads, against a double of a cluster and of its controller."""

import msgspec
import pytest
from tests.integration.doubles.kubernetes import TOKEN, KubernetesDouble
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import (
    ForeignStories,
    TlsStories,
    action,
    forks,
    planned,
    refused,
)

from cronos.errors import InputError
from cronos.platforms.workloads import WorkloadsConfig, WorkloadsExecutor
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Verb

MARK = "cronos/restored"


def restore(name, **more):
    return action("kubernetes-workloads", Verb.RESTORE, EntityKind.WORKLOAD, name, **more)


class Cluster:
    """A cluster's double with two workloads, and executors for it."""

    secrets = (TOKEN,)

    @pytest.fixture(autouse=True)
    def _cluster(self, tmp_path):
        self.folder = tmp_path
        self.token = secret_file(tmp_path / "token", TOKEN)
        self.double = self.new_double()
        with self.double.serving():
            yield

    def new_double(self):
        double = KubernetesDouble()
        double.add_deployment("billing-api", replicas=3)
        double.add_deployment("payroll")
        double.add_deployment("other")
        return double

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "token_file": self.token, "rollout_ms": 300,
                 "workload": {"billing": "shop/billing-api", "payroll": "shop/payroll",
                              "gone": "shop/gone"}, **settings}  # fmt: skip
        config = msgspec.convert(given, WorkloadsConfig)
        return WorkloadsExecutor(config, SystemClock(), egress or Gate())

    def sample(self):
        return restore("billing")

    def wrong_secret(self, tmp_path):
        return {"token_file": secret_file(tmp_path / "wrong", "wrong-one")}

    def deployment(self):
        return self.double.objects["deployments", "shop", "billing-api"]


@forks
class TestConformance(Cluster, ReversibleExecutorConformance):
    def make(self, **settings):
        self.double.objects = self.new_double().objects
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def state(self):
        return self.double.state()

    def actions(self):
        return [restore("billing"), restore("payroll")]

    def impossible(self):
        return restore("nobody")


class TestStories(Cluster, ForeignStories, TlsStories):
    def test_the_template_names_the_action_and_is_as_before_after(self):
        before = self.double.state()
        executor = self.make()
        plans = planned(executor, self.sample())
        assert self.double.state() == before
        (outcome,) = executor.apply(plans)
        assert outcome.ok, outcome.detail
        template = self.deployment()["spec"]["template"]
        assert template["metadata"]["annotations"] == {MARK: plans[0].action.action_id}
        assert executor.undo(plans)[0].ok
        assert self.double.state() == before
        assert self.deployment()["metadata"]["generation"] == 3

    def test_a_rollout_that_nobody_carries_out_is_found_out(self):
        self.double.rolls = False
        executor = self.make()
        plans = planned(executor, self.sample())
        (outcome,) = executor.apply(plans)
        assert not outcome.ok
        assert "not complete" in outcome.detail
        assert executor.verify(plans) == [False]
        assert executor.undo(plans)[0].ok
        assert executor.observe() == frozenset()

    @pytest.mark.parametrize("name", ["observedGeneration", "replicas", "updatedReplicas",
                                      "readyReplicas", "availableReplicas"])  # fmt: skip
    def test_it_is_restored_when_each_figure_says_so(self, name):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        assert executor.verify(plans) == [True]
        self.deployment()["status"][name] += 1 if name == "replicas" else -1
        assert executor.verify(plans) == [False]

    def test_what_people_change_in_the_template_meanwhile_stays(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        template = self.deployment()["spec"]["template"]
        template["spec"]["containers"][0]["image"] = "i:2"
        template["metadata"]["annotations"]["team"] = "a"
        assert executor.undo(plans)[0].ok
        assert template["spec"]["containers"] == [{"image": "i:2"}]
        assert template["metadata"]["annotations"] == {"team": "a"}

    def test_a_workload_that_is_no_longer_configured_is_still_taken_back(self):
        before = self.double.state()
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        assert self.make(workload={}).undo(plans)[0].ok
        assert self.double.state() == before

    def test_a_workload_that_is_gone_is_nothing_to_take_back(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        del self.double.objects["deployments", "shop", "billing-api"]
        assert executor.undo(plans)[0].ok

    @pytest.mark.parametrize(("more", "word"), [({"paused": True}, "paused"),
                                                ({"replicas": 0}, "no replica")])  # fmt: skip
    def test_what_would_not_roll_is_refused(self, more, word):
        self.double.add_deployment("billing-api", **more)
        assert word in refused(self.make(), self.sample())

    @pytest.mark.parametrize("name", ["other", "shop/other", "../x", "", "gone"])
    def test_only_what_the_site_has_named_is_touched(self, name):
        refused(self.make(), restore(name))
        assert not [one for one in self.double.seen if one[0] != "GET"]

    @pytest.mark.parametrize("where", ["billing", "a/b/c", "shop/", "/x", "shop/../x", "Shop/x"])
    def test_a_place_that_is_none_is_refused_at_the_start(self, where):
        with pytest.raises(InputError):
            self.make(workload={"billing": where})
