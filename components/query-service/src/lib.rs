//! Query Service: reads rows and honours consistency tokens.
