//! What the vocabulary and the registry promise.

mod commands;
mod domain;
mod events;
mod folder;
mod identity;
mod indexes;
mod key;
mod lineage;
mod money;
mod registry;
mod shape;
mod token;
