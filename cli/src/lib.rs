//! The `tenure` command: a whole system on one machine, tenants, tokens, imports, status.
//!
//! Reading order: [`up`] starts everything; [`system`] says what everything is; [`supervisor`] keeps it running;
//! [`postgres`] and [`nats`] are the private servers, [`bootstrap`] sets up those that others run; [`home`] is where it all lives.

pub mod up;

pub mod down;
pub mod eventstore;
pub mod system;

pub mod supervisor;

pub mod postgres;

pub mod nats;

pub mod home;

pub mod process;

pub mod bootstrap;

pub mod show;

pub mod demo;

pub mod api;

pub mod tenant;

pub mod token;

pub mod user;

pub mod key;

pub mod access;

pub mod import;

pub mod batch;

pub mod read_model;
pub mod release;
pub mod restored;

pub mod job;

pub mod status;

pub mod output;
