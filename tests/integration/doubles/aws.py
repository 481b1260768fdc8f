"""A double of AWS IAM: moto, behind a server of our own since it would want Flask."""

from urllib.parse import parse_qs

from tests.integration.doubles.service import Double, RefusedError

OURS = "AKIAOURSOURSOURSOURS"
_READS = ("Get", "List")


class IamDouble(Double):
    def __init__(self):
        super().__init__()
        from moto.core.request import Request  # noqa: PLC0415 - takes a second to import
        from moto.iam.models import iam_backends  # noqa: PLC0415
        from moto.iam.responses import IamResponse  # noqa: PLC0415

        self._request, self._dispatch = Request, IamResponse.dispatch
        self.iam = iam_backends["123456789012"]["aws"]
        self.iam.reset()
        self.fault = ""

    def reset(self):
        self.iam.reset()

    def add_user(self, name, keys=1):
        self.iam.create_user(region_name="us-east-1", user_name=name)
        return [self.iam.create_access_key(user_name=name).access_key_id for _ in range(keys)]

    def state(self, name):
        """Give a user's keys with their states, and its tags."""
        keys = {k.access_key_id: k.status for k in self.iam.list_access_keys(name)}
        return keys, {tag["Key"]: tag["Value"] for tag in self.iam.list_user_tags(name)}

    def reads(self, method, path, body):
        return self._action(body).startswith(_READS)

    def lie(self, body):
        action = self._action(body)
        key = "<AccessKey><AccessKeyId>AKIAALIEALIEALIEALIE</AccessKeyId><SecretAccessKey>no"
        key += "</SecretAccessKey><UserName>x</UserName><Status>Active</Status></AccessKey>"
        result = key if action == "CreateAccessKey" else ""
        return (
            f"<{action}Response><{action}Result>{result}</{action}Result>"
            f"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>"
        ).encode()

    def answer(self, method, path, headers, body):
        if f"Credential={OURS}/" not in headers.get("Authorization", ""):
            raise RefusedError(403, self._error("InvalidClientTokenId"))
        if self.fault:
            raise RefusedError(400, self._error(self.fault))
        request = self._request.from_primitives(
            "POST", "https://iam.amazonaws.com" + path, headers, body
        )
        status, _, answer = self._dispatch(request)
        data = answer.encode() if isinstance(answer, str) else answer
        if status != 200:
            raise RefusedError(status, data)
        return data

    def _action(self, body):
        return parse_qs(body.decode(errors="replace")).get("Action", [""])[0]

    def _error(self, code):
        return (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>as told"
            "</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        ).encode()
