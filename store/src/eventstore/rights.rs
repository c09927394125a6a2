//! The rights that Tenure's user needs at EventStoreDB: the server's default for all streams, which only an admin may set.

use eventstore::{Error, EventData, ReadStreamOptions, StreamPosition, StreamState};
use serde_json::{Value, json};

use super::{
    EsStore,
    client::{broken, unavailable},
};
use crate::StoreError;

/// The stream whose last event is what the server goes by, and the type that its own clients give such an event.
const SETTINGS: &str = "$settings";

/// What was done about a user's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// The server's default was like this already.
    Already,
    /// It is now; there was none before.
    Now,
    /// It is now, instead of this one.
    Instead(Value),
    /// Another default is there, and was left.
    Refused(Value),
}

/// Lets a user read and append, and nobody but admins delete or change metadata, by the server's default for all streams. `url` is
/// an admin's. A default of somebody's own is replaced only with `replace`.
pub async fn grant(url: &str, user: &str, replace: bool) -> Result<Granted, StoreError> {
    let store = EsStore::connect(url).await?;
    let options = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
    let last = store.read_with(SETTINGS, options).await?.pop();
    let before = last.as_ref().map(|event| event.as_json::<Value>().map_err(broken)).transpose()?;
    let wanted = rights_of(user);
    if before.as_ref() == Some(&wanted) {
        return Ok(Granted::Already);
    }
    if let Some(before) = &before
        && !replace
    {
        return Ok(Granted::Refused(before.clone()));
    }
    let expected = last.map_or(StreamState::NoStream, |event| StreamState::StreamRevision(event.revision));
    let event = EventData::json(SETTINGS, &wanted).map_err(broken)?;
    match store.append_to(SETTINGS.to_owned(), expected, vec![event]).await {
        Ok(_) => Ok(before.map_or(Granted::Now, Granted::Instead)),
        Err(Error::WrongExpectedVersion { .. }) => Err(unavailable("somebody else has just set the rights; look again")),
        Err(error) => Err(store.failed(error).await),
    }
}

/// The default access to streams, as the server reads it: `$r`ead, `$w`rite, `$d`elete, `$m`etadata.
fn rights_of(user: &str) -> Value {
    json!({
        "$userStreamAcl": {"$r": user, "$w": user, "$d": "$admins", "$mr": "$admins", "$mw": "$admins"},
        "$systemStreamAcl": {"$r": ["$admins", user], "$w": "$admins", "$d": "$admins", "$mr": "$admins", "$mw": "$admins"},
    })
}
