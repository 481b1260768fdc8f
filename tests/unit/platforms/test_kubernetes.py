"""The executor of a cluster, against a double of its API server; no policy is enforced there."""

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

from cronos.errors import CronosError, DeniedError, InputError
from cronos.platforms.kubernetes import KubernetesConfig, KubernetesExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.irreversible import IrreversibleExecutorConformance
from cronos.types import EntityKind, Verb, action_id

POD, MACHINE = EntityKind.POD, EntityKind.MACHINE


def contain(name, kind=POD, **more):
    return action("kubernetes", Verb.CONTAIN, kind, name, **more)


def delete(name):
    return action("kubernetes", Verb.DELETE, POD, name)


class Cluster:
    """A cluster's double with two pods and a machine, and executors for it."""

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
        double.add_pod("api-0", labels={"app": "api"}, ip="127.0.0.1")
        double.add_pod("api-1", labels={"app": "api"}, ip="127.0.0.1")
        double.add_node("worker-1")
        double.add_node("worker-2", unschedulable=True)
        return double

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "token_file": self.token, **settings}
        config = msgspec.convert(given, KubernetesConfig)
        return KubernetesExecutor(config, egress or Gate())

    def sample(self):
        return contain("shop/api-0")

    def wrong_secret(self, tmp_path):
        return {"token_file": secret_file(tmp_path / "wrong", "wrong-one")}


@forks
class TestConformance(Cluster, ReversibleExecutorConformance):
    def make(self, **settings):
        self.double.objects = self.new_double().objects
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [contain("shop/api-0"), contain("shop/api-1"), contain("worker-1", MACHINE),
                contain("worker-2", MACHINE)]  # fmt: skip

    def impossible(self):
        return contain("shop/nobody")


class TestStories(Cluster, ForeignStories, TlsStories):
    def test_a_quarantine_leaves_the_cluster_as_it_was(self):
        before = self.double.state()
        executor = self.make()
        plans = planned(executor, self.sample(), contain("worker-1", MACHINE),
                        contain("worker-2", MACHINE))  # fmt: skip
        assert self.double.state() == before
        executor.apply(plans)
        name = plans[0].action.action_id
        assert self.double.objects["pods", "shop", "api-0"]["metadata"]["labels"] == {
            "app": "api", "cronos/quarantine": name}  # fmt: skip
        policy = self.double.objects["networkpolicies", "shop", f"cronos-{name}"]
        assert policy["spec"] == {"podSelector": {"matchLabels": {"cronos/quarantine": name}},
                                  "policyTypes": ["Ingress", "Egress"]}  # fmt: skip
        assert self.double.objects["nodes", "", "worker-1"]["spec"] == {"unschedulable": True}
        executor.undo(plans)
        assert self.double.state() == before

    def test_the_label_comes_before_the_policy(self):
        executor = self.make()
        executor.apply(planned(executor, self.sample()))
        changes = [method for method, *_ in self.double.seen if method != "GET"]
        assert changes == ["PATCH", "POST"]

    def test_without_a_probe_it_says_that_nobody_knows_whether_it_is_enforced(self):
        executor = self.make()
        (outcome,) = executor.apply(planned(executor, self.sample()))
        assert outcome.ok
        assert "accepted_unverified (no probe says" in outcome.detail

    def test_a_probe_that_reaches_it_no_more_proves_it(self):
        self.double.enforces = True
        executor = self.make(probe_port=self.double.open_port())
        plans = planned(executor, self.sample())
        assert executor.apply(plans)[0].detail.endswith("in quarantine: enforced.")
        assert executor.verify(plans) == [True]

    def test_a_cluster_that_does_not_enforce_it_is_found_out(self):
        executor = self.make(probe_port=self.double.open_port(), probe_timeout_ms=100)
        plans = planned(executor, self.sample())
        (outcome,) = executor.apply(plans)
        assert not outcome.ok
        assert "does not enforce" in outcome.detail
        assert executor.verify(plans) == [False]
        assert executor.undo(plans)[0].ok
        self.double.listener.close()

    def test_a_probe_that_never_reached_it_proves_nothing(self):
        port = self.double.open_port()
        self.double.listener.close()
        executor = self.make(probe_port=port)
        (outcome,) = executor.apply(planned(executor, self.sample()))
        assert outcome.ok
        assert "did not reach it before either" in outcome.detail

    @pytest.mark.parametrize(("script", "word"), [
        ("exit 1", "did not reach it before"), ("exit 7", "no probe says"),
        ("sleep 30", "no probe says"),
    ])  # fmt: skip
    def test_a_command_may_probe(self, script, word):
        command = ["/bin/sh", "-c", f'test "$1" = shop/api-0 || exit 9; {script}']
        executor = self.make(probe_command=command, probe_timeout_ms=200)
        (outcome,) = executor.apply(planned(executor, self.sample()))
        assert word in outcome.detail

    def test_a_probe_beyond_the_gate_is_refused_before_anything_is_changed(self):
        class ApiOnly(Gate):
            def permit(self, host, port, purpose):
                if purpose == "kubernetes probe":
                    raise DeniedError("link.egress_closed", "Closed for probes.", "Open it.")

        executor = self.make(egress=ApiOnly(), probe_port=1)
        assert "Closed for probes" in refused(executor, self.sample())

    def test_policies_add_up_and_one_that_allows_is_named(self):
        allow = {"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{}]}
        self.double.add_policy("allow-api", allow)
        self.double.add_policy("other", {"podSelector": {"matchLabels": {"app": "web"}},
                                         "ingress": [{}]})  # fmt: skip
        executor = self.make()
        (outcome,) = executor.apply(planned(executor, self.sample()))
        assert (
            "accepted_unverified (allow-api may allow its traffic all the same)" in outcome.detail
        )

    def test_a_pod_on_its_machines_network_is_not_pretended_to_be_isolated(self):
        self.double.add_pod("agent", hostNetwork=True)
        assert "Contain the machine" in refused(self.make(), contain("shop/agent"))

    def test_a_label_of_somebody_else_comes_back(self):
        self.double.add_pod("marked", labels={"cronos/quarantine": "by-hand"})
        executor = self.make()
        plans = planned(executor, contain("shop/marked"))
        executor.apply(plans)
        assert executor.observe() == {plans[0].action.action_id}
        executor.undo(plans)
        labels = self.double.objects["pods", "shop", "marked"]["metadata"]["labels"]
        assert labels == {"cronos/quarantine": "by-hand"}

    def test_a_second_plan_while_the_first_holds_still_knows_what_was_before(self):
        executor = self.make()
        for kind, name in ((MACHINE, "worker-1"), (MACHINE, "worker-2"), (POD, "shop/api-0")):
            first = planned(executor, contain(name, kind))
            executor.apply(first)
            second = planned(executor, contain(name, kind, incident="inc-2"))
            assert second[0].recipe == first[0].recipe or kind is POD
            before = self.new_double().state()
            executor.undo(second)
            assert self.double.state().keys() == before.keys()
            assert self.double.state()["nodes", "", "worker-1"]["spec"] == {}
        assert executor.observe() == frozenset()

    def test_a_policy_that_was_weakened_is_found_and_made_anew(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        name = plans[0].action.action_id
        policy = self.double.objects["networkpolicies", "shop", f"cronos-{name}"]
        policy["spec"]["ingress"] = [{}]
        assert executor.verify(plans) == [False]
        assert executor.renew(plans)[0].ok
        assert executor.verify(plans) == [True]

    def test_others_who_change_the_pod_all_the_time_do_not_hold_it_up_for_ever(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        self.double.conflicts = 3
        assert executor.apply(plans)[0].ok
        executor.undo(plans)
        self.double.conflicts = 100
        assert "5 attempts" in executor.apply(plans)[0].detail

    def test_a_pod_that_is_gone_is_nothing_to_take_back(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        del self.double.objects["pods", "shop", "api-0"]
        assert executor.undo(plans)[0].ok
        assert executor.observe() == frozenset()

    @pytest.mark.parametrize("name", ["kube-system/dns", "shop", "shop/../nodes", "/x", "a/b/c",
                                      "shop/API", "shop/x%2f", "shop/x\n"])  # fmt: skip
    def test_what_is_protected_or_no_name_is_refused_before_anything_is_asked(self, name):
        refused(self.make(), contain(name))
        assert not self.double.seen

    def test_a_verb_it_does_not_have_is_refused(self):
        assert "cannot stop" in refused(
            self.make(), action("kubernetes", Verb.STOP, POD, "shop/api-0")
        )

    def test_many_marks_are_read_page_by_page(self):
        marks = {action_id("kubernetes", "contain", contain(f"shop/p-{i}").target)
                 for i in range(250)}  # fmt: skip
        for i, mark in enumerate(sorted(marks)):
            self.double.add_pod(f"p-{i}", labels={"cronos/quarantine": mark})
        self.double.add_pod("odd", labels={"cronos/quarantine": "not-an-id"})
        assert self.make().observe() == marks

    def test_a_token_that_others_may_read_is_refused(self):
        loose = self.folder / "loose"
        loose.write_text(TOKEN)
        loose.chmod(0o644)
        with pytest.raises(DeniedError):
            self.make(token_file=str(loose))
        with pytest.raises(InputError):
            self.make(token_file=str(self.folder / "none"))

    def test_a_token_is_read_anew_at_each_call(self):
        executor = self.make()
        secret_file(self.folder / "token", "wrong-one")
        assert "does not know our credentials" in refused(executor, self.sample())
        secret_file(self.folder / "token", TOKEN)
        planned(executor, self.sample())


@forks
class TestDeletionConformance(Cluster, IrreversibleExecutorConformance):
    def make(self, **settings):
        self.double.objects = self.new_double().objects
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [delete("shop/api-0"), delete("shop/api-1")]

    def is_done(self, action):
        return ("pods", *action.target.value.split("/")) not in self.double.objects

    def bystanders(self):
        return {name: one for name, one in self.double.state().items() if name[0] != "pods"}

    def impossible(self):
        return delete("kube-system/dns")


class TestMeanwhile(Cluster):
    """People change things between the plan, its turn and its end."""

    def test_a_machine_that_people_have_cordoned_stays_so(self):
        executor = self.make()
        plans = planned(executor, contain("worker-1", MACHINE))
        self.double.objects["nodes", "", "worker-1"]["spec"]["unschedulable"] = True
        executor.apply(plans)
        executor.apply(plans)
        assert executor.undo(plans)[0].ok
        assert self.double.objects["nodes", "", "worker-1"]["spec"] == {"unschedulable": True}
        assert executor.observe() == frozenset()

    def test_what_is_protected_by_now_is_still_taken_back(self):
        executor = self.make()
        before = self.double.state()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        executor = self.make(protected_namespaces=["shop"])
        assert executor.verify(plans) == [True]
        assert "protected" in executor.apply(plans)[0].detail
        assert executor.undo(plans)[0].ok
        assert self.double.state() == before

    def test_policies_that_cannot_be_listed_do_not_end_a_quarantine(self):
        """Whoever owns the namespace can fill it with them."""
        for number in range(12):
            spec = {"podSelector": {"matchLabels": {"x": "y" * 100_000}}}
            self.double.add_policy(f"filler-{number}", spec)
        executor = self.make()
        plans = planned(executor, self.sample())
        (outcome,) = executor.apply(plans)
        assert outcome.ok, outcome.detail
        assert "accepted_unverified (policies that cannot be listed" in outcome.detail
        assert executor.verify(plans) == [True]

    @pytest.mark.parametrize(
        "told", ["-oProxyCommand=x", "localhost", "0.0.0.0", "fe80::1%x", "$(x)"]
    )
    def test_an_address_that_is_none_is_no_argument_of_a_probe(self, told):
        ran = self.folder / "ran"
        self.double.objects["pods", "shop", "api-0"]["status"]["podIP"] = told
        command = ["/bin/sh", "-c", f"touch {ran}"]
        executor = self.make(probe_command=command)
        (outcome,) = executor.apply(planned(executor, self.sample()))
        assert "no probe says" in outcome.detail
        assert not ran.exists()


class TestDeletion(Cluster):
    def test_a_deleted_pod_has_no_recipe_and_is_seen_to_be_gone(self):
        executor = self.make()
        (plan,) = planned(executor, delete("shop/api-0"))
        assert plan.recipe == b""
        assert executor.verify([plan]) == [False]
        assert executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [True]
        assert ("pods", "shop", "api-0") not in self.double.objects
        (undone,) = executor.undo([plan])
        assert not undone.ok
        assert undone.detail.startswith("It cannot be taken back.")

    def test_the_same_deletion_again_spares_the_pod_that_took_its_name(self):
        executor = self.make()
        (plan,) = planned(executor, delete("shop/api-0"))
        executor.apply([plan])
        self.double.add_pod("api-0")
        assert executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [True]
        assert ("pods", "shop", "api-0") in self.double.objects

    def test_a_deletion_that_was_only_promised_is_found_out(self):
        executor = self.make()
        (plan,) = planned(executor, delete("shop/api-0"))
        self.double.mood = "lies"
        assert not executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [False]

    def test_when_nobody_answers_nobody_says_that_it_is_gone(self):
        executor = self.make()
        (plan,) = planned(executor, delete("shop/api-0"))
        self.double.mood = "broken"
        with pytest.raises(CronosError):
            executor.verify([plan])
