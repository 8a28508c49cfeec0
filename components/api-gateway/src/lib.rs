//! API Gateway: routes commands and queries, and alone maps outcomes to HTTP.
