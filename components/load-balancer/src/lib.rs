//! Load Balancer: spreads requests evenly over the API Gateway instances.
