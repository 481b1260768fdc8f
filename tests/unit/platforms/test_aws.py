"""The executor of AWS access keys, against moto, which is a double of IAM."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("boto3", reason="needs the extra `aws`")
pytest.importorskip("moto", reason="needs moto, the double of AWS")

from tests.integration.doubles.aws import OURS, IamDouble
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import ForeignStories, action, forks, planned, refused

from cronos.errors import DeniedError, ExtraMissingError, InputError
from cronos.link.egress import EgressGate
from cronos.platforms.aws import AwsConfig, AwsExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Verb

SECRET = "a-secret-that-no-log-may-show"


def credentials(path, key=OURS, secret=SECRET):
    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    return secret_file(path, text)


def deny(key, **more):
    return action("aws", Verb.DENY, EntityKind.CREDENTIAL, key, **more)


def rotate(key, **more):
    return action("aws", Verb.UPDATE, EntityKind.CREDENTIAL, key, **more)


class Account:
    """An account's double with two users, and executors for it."""

    secrets = (SECRET,)
    without = ("drip",)

    @pytest.fixture(autouse=True)
    def _account(self, tmp_path, monkeypatch):
        self.folder = tmp_path
        self.file = credentials(tmp_path / "credentials")
        self.secrets_folder = tmp_path / "new-keys"
        self.secrets_folder.mkdir(mode=0o700)
        # What a stranger's settings would do, were they read.
        aws = tmp_path / "home" / ".aws"
        aws.mkdir(parents=True)
        (aws / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00000")
        self.double = self.new_double()
        with self.double.serving():
            yield
        self.double.reset()

    def new_double(self):
        double = IamDouble()
        (self.key,) = double.add_user("batch")
        (self.other,) = double.add_user("report")
        return double

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "credentials_file": self.file,
                 "secrets_folder": str(self.secrets_folder), **settings}  # fmt: skip
        return AwsExecutor(msgspec.convert(given, AwsConfig), egress or Gate())

    def sample(self):
        return deny(self.key)

    def wrong_secret(self, tmp_path):
        return {"credentials_file": credentials(tmp_path / "wrong", "AKIAWRONGWRONGWRONG0",
                                                "wrong-one")}  # fmt: skip


@forks
class TestConformance(Account, ReversibleExecutorConformance):
    crash_points = 4  # each makes a client of AWS, which takes its time; see test_foreign_crashes

    def make(self, **settings):
        self.double.reset()
        (self.key,) = self.double.add_user("batch")
        (self.other,) = self.double.add_user("report")
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [deny(self.key), rotate(self.other)]

    def impossible(self):
        return deny("AKIANOBODYNOBODYNOBO")


class TestStories(Account, ForeignStories):
    def test_a_key_is_inactive_and_comes_back_as_it_was(self):
        before = self.double.state("batch")
        executor = self.make()
        plans = planned(executor, self.sample())
        assert self.double.state("batch") == before
        executor.apply(plans)
        assert self.double.state("batch")[0] == {self.key: "Inactive"}
        executor.undo(plans)
        assert self.double.state("batch") == before

    def test_a_key_that_somebody_else_deactivated_is_left_alone(self):
        self.double.iam.update_access_key("batch", self.key, "Inactive")
        executor = self.make()
        assert "inactive already" in refused(executor, self.sample())
        assert executor.observe() == frozenset()

    def test_a_second_plan_while_the_first_holds_still_knows_that_it_was_active(self):
        executor = self.make()
        for make in (deny, rotate):
            first = planned(executor, make(self.key))
            executor.apply(first)
            second = planned(executor, make(self.key, incident="inc-2"))
            assert second[0].recipe == first[0].recipe
            executor.undo(second)
            assert self.double.state("batch") == ({self.key: "Active"}, {})

    def test_the_key_that_is_used_here_and_those_of_the_protected_are_refused(self):
        assert "itself uses" in refused(self.make(), deny(OURS))
        executor = self.make(protected_users=["batch"])
        assert "protected" in refused(executor, deny(self.key))

    @pytest.mark.parametrize("name", ["", "akia", "../x", "A" * 200, "AKIA 1234567890123"])
    def test_what_is_no_key_is_refused_before_anything_is_asked(self, name):
        refused(self.make(), deny(name))
        assert not self.double.seen

    def test_a_refusal_names_its_reason_and_no_secret(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        self.double.fault = "AccessDenied"
        detail = executor.apply(plans)[0].detail
        assert "AccessDenied" in detail
        assert "as told" not in detail

    def test_beyond_the_gate_nothing_is_called(self):
        executor = self.make(egress=EgressGate(), url="")
        assert "'iam.amazonaws.com' port 443" in refused(executor, self.sample())

    def test_credentials_that_others_may_read_or_that_are_none_are_refused(self):
        Path(self.file).chmod(0o640)
        with pytest.raises(DeniedError):
            self.make()
        with pytest.raises(InputError):
            self.make(credentials_file=str(self.folder / "none"))
        empty = secret_file(self.folder / "empty", "no credentials")
        with pytest.raises(InputError):
            self.make(credentials_file=empty)

    def test_without_its_library_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(ExtraMissingError) as raised:
            self.make()
        assert "cronos[aws]" in raised.value.remedy


class TestRotation(Account):
    def rotated(self):
        executor = self.make()
        plans = planned(executor, rotate(self.key))
        (outcome,) = executor.apply(plans)
        assert outcome.ok, outcome.detail
        (file,) = self.secrets_folder.iterdir()
        return executor, plans, outcome, file

    def test_a_new_key_is_made_and_its_secret_lies_in_a_private_file_alone(self, caplog):
        executor, plans, outcome, file = self.rotated()
        told = json.loads(file.read_text())
        keys, _ = self.double.state("batch")
        assert keys == {self.key: "Inactive", told["aws_access_key_id"]: "Active"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert told["aws_secret_access_key"]
        assert told["aws_secret_access_key"] not in outcome.detail + caplog.text
        assert executor.verify(plans) == [True]

    def test_undone_the_old_key_is_active_and_the_new_one_gone(self):
        executor, plans, _, file = self.rotated()
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Active"}, {})
        assert not file.exists()

    def test_the_same_rotation_again_makes_no_third_key(self):
        executor, plans, _, file = self.rotated()
        before = file.read_text()
        assert executor.apply(plans)[0].ok
        assert file.read_text() == before
        assert len(self.double.state("batch")[0]) == 2

    @pytest.mark.parametrize("step", ["create", "writing", "written"])
    def test_what_died_half_done_is_found_and_finished_or_taken_back(self, step):
        """A new key was made, and nobody was told: by our death, or before the tag was written."""
        for finish in (True, False):
            executor = self.make()
            plans = planned(executor, rotate(self.key))
            before = plans[0].action.action_id
            begun = {"Key": f"cronos-update-{self.key}", "Value": f"{before}/@{int(time.time())}"}
            self.double.iam.tag_user("batch", [begun])
            lost = self.double.iam.create_access_key(user_name="batch").access_key_id
            if step == "written":
                secret_file(self.secrets_folder / f"{lost}.json", "{}")
            if step == "writing":
                secret_file(self.secrets_folder / f"{lost}.new", "{")
            assert executor.verify(plans) == [False]
            assert executor.observe() == {before}
            if finish:
                assert executor.apply(plans)[0].ok
                assert executor.verify(plans) == [True]
                assert lost not in self.double.state("batch")[0]
            assert executor.undo(plans)[0].ok
            assert self.double.state("batch") == ({self.key: "Active"}, {})
            assert finish or not [*self.secrets_folder.glob(f"{lost}.*")]

    def test_a_rotation_without_a_place_for_the_new_key_is_refused(self):
        assert "secrets_folder" in refused(self.make(secrets_folder=""), rotate(self.key))
        self.secrets_folder.chmod(0o755)
        assert "open to others" in refused(self.make(), rotate(self.key))

    def test_a_user_with_two_keys_is_refused(self):
        first, _ = self.double.add_user("two", keys=2)
        assert "no third" in refused(self.make(), rotate(first))

    def test_a_rotation_that_was_only_promised_is_found_out(self):
        executor = self.make()
        plans = planned(executor, rotate(self.key))
        self.double.mood = "lies"
        executor.apply(plans)
        assert executor.verify(plans) == [False]
        self.double.mood = "well"
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Active"}, {})

    def test_on_a_full_disk_no_key_is_left_over(self, monkeypatch):
        executor = self.make()
        plans = planned(executor, rotate(self.key))

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        (outcome,) = executor.apply(plans)
        monkeypatch.undo()
        assert not outcome.ok
        assert "cannot be written" in outcome.detail
        assert self.double.state("batch")[0][self.key] == "Active"
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Active"}, {})

    def test_a_key_that_people_made_meanwhile_is_left_alone(self):
        """By hand, after the plan, or long after an attempt that was cut short."""
        for since in (None, int(time.time()) - 3600):
            executor = self.make()
            plans = planned(executor, rotate(self.key))
            if since is not None:
                name = {"Key": f"cronos-update-{self.key}"}
                value = f"{plans[0].action.action_id}/@{since}"
                self.double.iam.tag_user("batch", [{**name, "Value": value}])
            theirs = self.double.iam.create_access_key(user_name="batch").access_key_id
            (outcome,) = executor.apply(plans)
            assert not outcome.ok
            assert theirs in outcome.detail
            assert executor.undo(plans)[0].ok
            assert self.double.state("batch") == ({self.key: "Active", theirs: "Active"}, {})
            self.double.iam.delete_access_key(theirs, "batch")

    def test_a_key_that_is_in_use_is_none_that_was_lost(self, monkeypatch):
        executor = self.make()
        plans = planned(executor, rotate(self.key))
        name = {"Key": f"cronos-update-{self.key}"}
        value = f"{plans[0].action.action_id}/@{int(time.time())}"
        self.double.iam.tag_user("batch", [{**name, "Value": value}])
        theirs = self.double.iam.create_access_key(user_name="batch").access_key_id
        monkeypatch.setattr(executor._iam, "was_used", lambda key: key == theirs)
        assert theirs in executor.apply(plans)[0].detail
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Active", theirs: "Active"}, {})

    def test_a_new_key_whose_file_was_taken_away_is_kept(self):
        executor, plans, _, file = self.rotated()
        before = self.double.state("batch")
        file.unlink()
        assert executor.verify(plans) == [True]
        assert executor.renew(plans)[0].ok
        assert executor.apply(plans)[0].ok
        assert self.double.state("batch") == before

    @pytest.mark.parametrize("made", ["../victim", "/tmp/x", "@", "@-1", "@1/../../victim", "."])
    def test_a_tag_that_somebody_wrote_names_no_file(self, made):
        victim = self.folder / "victim.json"
        victim.write_text("{}")
        executor = self.make()
        plans = planned(executor, rotate(self.key))
        name = {"Key": f"cronos-update-{self.key}"}
        value = f"{plans[0].action.action_id}/{made}"
        self.double.iam.tag_user("batch", [{**name, "Value": value}])
        assert executor.undo(plans)[0].ok
        assert victim.exists()

    def test_a_tag_that_somebody_wrote_costs_no_key_that_was_there(self):
        executor = self.make()
        plans = planned(executor, rotate(self.key))
        name = {"Key": f"cronos-update-{self.key}"}
        value = f"{plans[0].action.action_id}/{self.key}"
        self.double.iam.tag_user("batch", [{**name, "Value": value}])
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Active"}, {})


class TestMeanwhile(Account):
    """People change the key between the plan and its turn."""

    @pytest.mark.parametrize("make", [deny, rotate])
    def test_a_key_that_people_deactivated_stays_so(self, make):
        executor = self.make()
        plans = planned(executor, make(self.key))
        self.double.iam.update_access_key("batch", self.key, "Inactive")
        (outcome,) = executor.apply(plans)
        assert not outcome.ok
        assert "inactive meanwhile" in outcome.detail
        assert executor.undo(plans)[0].ok
        assert self.double.state("batch") == ({self.key: "Inactive"}, {})
