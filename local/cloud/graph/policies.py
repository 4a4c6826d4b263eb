"""What the administrators of the tenant allow, and how Microsoft behaves where it does not say."""

from dataclasses import dataclass
from typing import Literal, get_args

from local.cloud.graph.errors import GraphError, bad_request, forbidden
from local.cloud.records import changed
from local.cloud.web import Json

type Refusal = Literal["", "lifetime", "trusted_ca", "forbidden"]
type Duplicates = Literal["second", "refused"]


@dataclass(frozen=True, slots=True)
class GraphPolicies:
    """Settings of Graph; not kept between runs."""

    refuse_add: Refusal = ""
    """Why addKey is refused, if it is: the lifetime is too long, the issuer is not trusted, or not permitted."""
    duplicates: Duplicates = "second"
    """A certificate that is registered already becomes a second key credential, or is refused with 400."""
    graph_may_read: bool = False
    """The application may read itself."""

    def changed(self, values: Json) -> "GraphPolicies":
        """Give policies with the named fields set. Raises ValueError for an unknown field or value."""
        policies = changed(self, values)
        for name, kind in (("refuse_add", Refusal), ("duplicates", Duplicates)):
            if getattr(policies, name) not in get_args(kind.__value__):
                message = f"{name} is one of {get_args(kind.__value__)}"
                raise ValueError(message)
        return policies

    def refusal(self) -> GraphError | None:
        """Give the error that addKey ends with; None when it is allowed."""
        match self.refuse_add:
            case "":
                return None
            case "lifetime":
                message = "Credential lifetime exceeds the max value allowed as per assigned policy."
                return bad_request(message, "CredentialInvalidLifetimeAsPerAppPolicy")
            case "trusted_ca":
                message = (
                    "The certificate is not issued by a trusted certificate authority of the assigned policy."
                )
                return bad_request(message, "CredentialInvalidTypeAsPerAppPolicy")
            case "forbidden":
                return forbidden()
