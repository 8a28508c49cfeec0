//! What the shop promises, on the real feed where there is one and on a made-up one elsewhere.

mod domain;
mod feed;
mod import;
mod made_up_feed;
mod oracle;
mod process;
mod stored_shapes;
mod which_feed;
