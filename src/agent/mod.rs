//! Agents: what is known about each ([`manifest`], [`registry`], [`image`]), how one is driven ([`acp`]), what it
//! claims ([`claims`]) and treefort's own small one ([`chat`]).
//!
//! An agent is data plus a program in a container that speaks the Agent Client Protocol on its stdio.
//! Whatever it sends is hostile input: recorded raw first ([`journal`]), bounded, then mapped.

pub mod acp;
pub mod chat;
pub mod claims;
pub mod folder;
pub mod image;
pub mod journal;
pub mod jsonrpc;
mod link;
pub mod manifest;
mod permission;
pub mod registry;
