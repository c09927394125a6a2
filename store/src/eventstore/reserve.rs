//! Reservations of claims and of commands' ids.

use std::time::{Duration, Instant};

use events::StreamName;
use eventstore::{Error, EventData, ReadStreamOptions, StreamPosition, StreamState};
use uuid::Uuid;

use super::{
    EsStore,
    append::{INDEXED_STREAMS, MAX_LOSSES},
    client::{MAX_ATTEMPTS, broken, pause},
    wire::{ClaimName, Reservation, claim_name, command_name, reservation_stream},
};
use crate::{Append, AppendError, Claim, ClaimOp, StoreError};

/// A reservation without events is an orphan once it was seen for this long: its append has long given up.
const ORPHAN_AFTER: Duration = Duration::from_secs(30);

/// What a reservation that stands means to who comes next.
enum Standing {
    /// The command that comes next has been written, to the reservation's stream.
    Written,
    /// Its stream's events hold the claim.
    Held,
    /// No append is behind it any more, or the claim is the stream's own.
    Free,
    /// Another try of the same command is behind it.
    Shared,
    /// Its append may still be on the way.
    Pending,
}

/// A reservation of ours, and where it stands.
pub(super) struct Reserved {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) reservation: Reservation,
    /// It stands on that of another try, which may still be on the way: withdrawing it would free the other's.
    pub(super) shared: bool,
}

/// What came of reserving.
pub(super) enum Reached<T> {
    Reserved(T),
    /// The command has been written, to this stream.
    Written(StreamName),
}

impl EsStore {
    /// Reserves the command's id, and then what the append takes, in the order of the claims' names, so that two appends
    /// can't wait for each other.
    ///
    /// A reservation by another stream stands if that stream's events hold the claim. If they don't, its append is
    /// still on its way, or died, or gave the claim back since: the first is waited for, the second is an orphan that
    /// is taken over once it was seen for [`ORPHAN_AFTER`], the third is free. One by another command of the same stream is
    /// waited for, too: who is refused after that withdraws, and must not free what the other is about to write.
    pub(super) async fn reserve(&self, append: &Append, reserved: &mut Vec<Reserved>) -> Result<Reached<()>, AppendError> {
        let mut takes: Vec<&Claim> = append.claims.iter().filter(|c| c.op == ClaimOp::Take).collect();
        takes.sort_by_key(|c| (c.kind, c.digest));
        for what in std::iter::once(None).chain(takes.into_iter().map(Some)) {
            match self.reserve_one(append, what).await? {
                Reached::Reserved(one) => reserved.push(one),
                Reached::Written(to) => return Ok(Reached::Written(to)),
            }
        }
        Ok(Reached::Reserved(()))
    }

    /// Reserves one claim, or the command's id.
    async fn reserve_one(&self, append: &Append, claim: Option<&Claim>) -> Result<Reached<Reserved>, AppendError> {
        let command_id = append.metadata.command_id;
        let name = claim.map_or_else(|| command_name(command_id), claim_name);
        let stream = reservation_stream(append.scope.tenant(), &name);
        let reservation = Reservation { holder: append.stream, command_id, attempt: Uuid::now_v7(), withdrawn: false };
        let event = || EventData::json("ClaimReserved", &reservation).map_err(broken);
        let what = claim.map_or("a command id", |claim| claim.kind.0);
        let (mut waits, mut losses, mut failures, mut shared) = (0, 0, 0, false);
        // Nearly every command is new: no need to look, the server will tell.
        let mut last = if claim.is_some() { self.last_reservation(&stream).await? } else { None };
        while losses < MAX_LOSSES && failures < MAX_ATTEMPTS {
            let expected = match &last {
                None => StreamState::NoStream,
                Some((revision, theirs)) if theirs.attempt == reservation.attempt => {
                    return Ok(Reached::Reserved(Reserved { stream, revision: *revision, reservation, shared }));
                }
                Some((revision, theirs)) => {
                    match (self.standing(append, claim.map(|_| &name), &stream, theirs).await?, claim) {
                        (Standing::Written, _) => return Ok(Reached::Written(theirs.holder)),
                        (Standing::Held, Some(claim)) => return Err(AppendError::ClaimTaken { kind: claim.kind }),
                        (Standing::Held, None) | (Standing::Pending, _) if waits < MAX_ATTEMPTS => {
                            pause(waits).await;
                            waits += 1;
                            last = self.last_reservation(&stream).await?;
                            continue;
                        }
                        (Standing::Held, None) | (Standing::Pending, _) => {
                            return Err(StoreError::Unavailable(format!("{what} is about to be taken by another command")).into());
                        }
                        (standing @ (Standing::Free | Standing::Shared), _) => shared = matches!(standing, Standing::Shared),
                    }
                    StreamState::StreamRevision(*revision)
                }
            };
            match self.append_to(stream.clone(), expected, vec![event()?]).await {
                Ok(written) => {
                    return Ok(Reached::Reserved(Reserved { stream, revision: written.next_expected_version, reservation, shared }));
                }
                Err(Error::WrongExpectedVersion { .. }) => {
                    pause(losses).await;
                    losses += 1;
                }
                Err(error) => {
                    self.failed(error).await;
                    pause(failures).await;
                    failures += 1;
                }
            }
            last = self.last_reservation(&stream).await?;
        }
        Err(StoreError::Unavailable(format!("{what} is contested by too many at once")).into())
    }

    /// Takes back reservations whose append was refused, unless somebody reserved on top of them, or they stand on another
    /// try's. If this fails they become orphans, which heal by time.
    pub(super) async fn withdraw(&self, reserved: Vec<Reserved>) {
        for ours in reserved.into_iter().filter(|ours| !ours.shared) {
            let withdrawn = EventData::json("ClaimReserved", &Reservation { withdrawn: true, ..ours.reservation });
            let Ok(withdrawn) = withdrawn else { continue };
            if let Err(error) = self.append_to(ours.stream, StreamState::StreamRevision(ours.revision), vec![withdrawn]).await {
                tracing::debug!(%error, "a reservation could not be withdrawn");
            }
        }
    }

    pub(super) async fn last_reservation(&self, stream: &str) -> Result<Option<(u64, Reservation)>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
        let last = self.read_with(stream, options).await?.pop();
        last.map(|event| Ok((event.revision, event.as_json::<Reservation>().map_err(broken)?))).transpose()
    }

    /// What is behind a reservation of `claim`, or of the command's id.
    async fn standing(
        &self,
        append: &Append,
        claim: Option<&ClaimName>,
        stream: &str,
        theirs: &Reservation,
    ) -> Result<Standing, StoreError> {
        let index = self.index(theirs.holder, true).await?;
        let own = theirs.holder == append.stream;
        if (own || claim.is_none()) && index.commands.contains_key(&append.metadata.command_id) {
            return Ok(Standing::Written);
        }
        if claim.is_some_and(|name| index.claims.get(name).copied().unwrap_or(false)) {
            return Ok(if own { Standing::Free } else { Standing::Held });
        }
        if theirs.withdrawn || index.commands.contains_key(&theirs.command_id) {
            return Ok(Standing::Free); // Refused, or taken and given back since.
        }
        if own && theirs.command_id == append.metadata.command_id {
            return Ok(Standing::Shared);
        }
        // Waiting by our own clock from the first sight on needs no agreement between clocks.
        let mut contested = self.0.contested.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if contested.len() > INDEXED_STREAMS {
            contested.retain(|_, (_, since)| since.elapsed() < ORPHAN_AFTER);
        }
        let seen = contested.entry(stream.to_owned()).or_insert_with(|| (theirs.attempt, Instant::now()));
        if seen.0 != theirs.attempt {
            *seen = (theirs.attempt, Instant::now());
        }
        Ok(if seen.1.elapsed() >= ORPHAN_AFTER { Standing::Free } else { Standing::Pending })
    }
}
