"""Who may do what: tokens stand for users, users belong to organizations."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Account:
    """What a token stands for."""

    user: str
    organizations: tuple[str, ...] = ()
    role: Literal["read", "write"] = "write"

    def belongs_to(self, namespace: str) -> bool:
        return namespace in (self.user, *self.organizations)

    def description(self) -> dict:
        """Answer of /api/whoami-v2."""
        organizations = [
            {
                "type": "org",
                "id": f"id-{name}",
                "name": name,
                "fullname": name,
                "roleInOrg": "write",
                "isEnterprise": False,
            }
            for name in self.organizations
        ]
        return {
            "type": "user",
            "id": f"id-{self.user}",
            "name": self.user,
            "fullname": self.user,
            "isPro": False,
            "orgs": organizations,
            "auth": {"type": "access_token", "accessToken": {"displayName": f"{self.role} token", "role": self.role}},
        }


def usual_accounts() -> dict[str, Account]:
    """Tokens that every test finds."""
    return {
        "writer-token": Account("alice", ("org",)),
        "reader-token": Account("alice", ("org",), role="read"),
        "stranger-token": Account("mallory"),
    }
