"""A double of a Keycloak server: one realm with a client, users and their sessions.

It knows client credentials, tokens that end, exact and paged searches, whole representations of
users that are replaced by PUT, log-out that moves a user's not-before, and the end of a session.
"""

import copy
import re
from urllib.parse import parse_qs, urlsplit

import msgspec
from tests.integration.doubles.service import Double, RefusedError

SECRET = "a-client-secret-that-no-log-may-show"


class KeycloakDouble(Double):
    def __init__(self):
        super().__init__()
        self.users = {}
        self.sessions = {}  # session -> user id
        self.tokens = 0
        self.valid = set()
        self.expires_in = 60
        self.time_s = 1000

    def add_user(self, name, *sessions, **more):
        made = f"id-{name}"
        self.users[made] = {"id": made, "username": name, "enabled": True, "notBefore": 0,
                            "attributes": {"desk": ["7"]}, "email": f"{name}@corp.example",
                            **more}  # fmt: skip
        self.sessions.update(dict.fromkeys(sessions, made))

    def state(self):
        return copy.deepcopy(self.users), dict(self.sessions)

    def user(self, name):
        return self.users[f"id-{name}"]

    def reads(self, method, path, body):
        return method == "GET" or path.endswith("/token")

    def answer(self, method, path, headers, body):
        parts = urlsplit(path)
        if parts.path == "/realms/plant/protocol/openid-connect/token":
            return self._token(parse_qs(body.decode()))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid:
            raise RefusedError(401, {"error": "HTTP 401 Unauthorized"})
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = re.fullmatch(
            r"/admin/realms/plant/(users|sessions)(?:/([^/]+)(/\w+)?)?", parts.path
        )
        if found is None:
            raise RefusedError(404, {"error": "not found"})
        if found[1] == "sessions":
            if method != "DELETE" or self.sessions.pop(found[2], None) is None:
                raise RefusedError(404, {"error": "Session not found"})
            return None
        if found[2] is None:
            return self._search(query)
        if found[2] not in self.users:
            raise RefusedError(404, {"error": "User not found"})
        return self._one(method, found[2], found[3], body)

    def _token(self, form):
        if form.get("client_secret") != [SECRET] or form["grant_type"] != ["client_credentials"]:
            raise RefusedError(401, {"error": "unauthorized_client"})
        self.tokens += 1
        token = f"token-{self.tokens}"
        self.valid.add(token)
        return {"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"}

    def _search(self, query):
        users = [self.users[name] for name in sorted(self.users)]
        if query.get("exact") == "true":
            return [u for u in users if u["username"] == query["username"]]
        if "enabled" in query:
            users = [u for u in users if str(u["enabled"]).lower() == query["enabled"]]
        first = int(query.get("first", "0"))
        return users[first : first + int(query.get("max", "100"))]

    def _one(self, method, user_id, what, body):
        if what == "/sessions":
            return [{"id": s, "userId": u} for s, u in self.sessions.items() if u == user_id]
        if what == "/logout":
            self.time_s += 1
            self.users[user_id]["notBefore"] = self.time_s
            self.sessions = {s: u for s, u in self.sessions.items() if u != user_id}
            return None
        if method == "PUT":  # what is left out is taken for empty
            given = msgspec.json.decode(body)
            self.users[user_id] = {**given, "id": user_id}
            return None
        return self.users[user_id]
