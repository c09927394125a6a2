//! Reservations of claims and of commands' ids, which keep others from what an append is about to write.
//!
//! The truth about a claim is the holder's stream; a reservation says only whose stream to ask. Somebody else's stands while
//! its append may be on the way. It is taken over if it was withdrawn, or if its command has been written and gave the claim
//! back since, or if it is an *orphan*: it stood for [`ORPHAN_AFTER`] without events.
//!
//! An orphan's append may still be on its way, however long: its deadline begins to count only when the server has it. So
//! whoever takes over an orphan first appends a *fence* to the holder's stream, at the end that was read when its events did
//! not hold the claim. These are the steps, each at an exact revision:
//!
//! - the holder reads the end of its stream, then reserves, then writes at that end; after a lost race it does all three anew;
//! - whoever takes over reads the reservation, then reads the end of the holder's stream, then fences that end, then reserves
//!   over the reservation that it read.
//!
//! If both the write and the taking over succeed, then the holder reserved before that reservation was read, so it knew an end
//! that was not fenced yet, and has written before the fence or not at all. Whoever fenced an end has read all before it.

use std::time::{Duration, Instant};

use events::{CommandId, StreamName, TenantId};
use eventstore::{Error, EventData, ReadStreamOptions, StreamPosition, StreamState};
use futures::future::join_all;
use uuid::Uuid;

use super::{
    EsStore,
    append::{End, INDEXED_STREAMS, MAX_LOSSES},
    client::{MAX_ATTEMPTS, broken, pause, unavailable},
    wire::{ClaimName, FENCE, Fence, Reservation, claim_name, command_name, reservation_stream},
};
use crate::{Append, AppendError, ClaimKind, ClaimOp, IdScope, StoreError};

/// A reservation without events is an orphan once it was seen for this long: longer than one call may take, so that an append
/// that is only slow is seldom fenced off.
const ORPHAN_AFTER: Duration = Duration::from_secs(10);

/// What an append reserves, in the order in which reservations are waited for.
pub(super) struct Reservations(Vec<Item>);

struct Item {
    /// None for the command's id.
    claim: Option<(ClaimKind, ClaimName)>,
    /// The reservation's stream.
    stream: String,
    /// The reservation, where it is ours.
    held: Option<Last>,
    /// Ours stands on that of another try of the command, which may still be on the way: withdrawing it would free the other's.
    shared: bool,
}

/// The reservation that stands.
#[derive(Clone)]
struct Last {
    /// Where it stands in its stream; zero in PostgreSQL.
    revision: u64,
    reservation: Reservation,
}

/// What a reservation that stands means to whoever comes next.
enum Standing {
    /// The command that comes next has been written, to the reservation's stream.
    Written,
    /// Its stream's events hold the claim.
    Held(ClaimKind),
    /// No append is behind it any more, or the claim is the stream's own.
    Free,
    /// Another try of the same command is behind it.
    Shared,
    /// Its append may still be on the way.
    Pending,
    /// Its append was on the way for too long. Its stream ended here, without it.
    Orphan(End),
}

/// What came of reserving.
pub(super) enum Reached {
    Reserved,
    /// The command has been written, to this stream.
    Written(StreamName),
}

/// What came of one try to reserve.
enum Put {
    Reserved(Last),
    /// Somebody else's reservation stands, or the outcome is unknown.
    Open(Option<StoreError>),
}

impl Reservations {
    /// What an append needs: its command's id, unless it comes to this stream only, and the claims that it takes.
    pub(super) fn of(append: &Append) -> Self {
        let tenant = append.scope.tenant();
        let item = |claim: Option<(ClaimKind, ClaimName)>, name: &ClaimName| {
            let stream = reservation_stream(tenant, name);
            Item { claim, stream, held: None, shared: false }
        };
        let id = (append.id_scope == IdScope::Tenant).then(|| item(None, &command_name(append.metadata.command_id)));
        let mut takes: Vec<_> = append.claims.iter().filter(|c| c.op == ClaimOp::Take).collect();
        takes.sort_by_key(|c| (c.kind, c.digest));
        let claims = takes.into_iter().map(|c| {
            let name = claim_name(c);
            item(Some((c.kind, name.clone())), &name)
        });
        Self(id.into_iter().chain(claims).collect())
    }
}

impl Item {
    fn what(&self) -> &'static str {
        self.claim.as_ref().map_or("a command id", |(kind, _)| kind.0)
    }
}

impl EsStore {
    /// Reserves all that an append needs, or anew what it has reserved. At first all at once, as if nobody else reached for
    /// any of it; then what is left one after another, in order.
    pub(super) async fn reserve(&self, append: &Append, Reservations(items): &mut Reservations) -> Result<Reached, AppendError> {
        let attempt = Uuid::now_v7();
        let reservation = Reservation { holder: append.stream, command_id: append.metadata.command_id, attempt, withdrawn: false };
        let puts = join_all(items.iter().map(|item| self.put(item, item.held.as_ref(), &reservation))).await;
        for (item, put) in items.iter_mut().zip(puts) {
            item.held = if let Put::Reserved(last) = put { Some(last) } else { None };
        }
        for n in 0..items.len() {
            if items[n].held.is_none()
                && let Reached::Written(to) = self.contend(append, &reservation, items, n).await?
            {
                return Ok(Reached::Written(to));
            }
        }
        Ok(Reached::Reserved)
    }

    /// Reserves one item that others have reached for.
    async fn contend(&self, append: &Append, reservation: &Reservation, items: &mut [Item], n: usize) -> Result<Reached, AppendError> {
        let (mut waits, mut losses, mut failures, mut failure) = (0, 0, 0, None);
        while losses < MAX_LOSSES && failures < MAX_ATTEMPTS {
            let item = &items[n];
            let last = self.last(append, item).await?;
            let mut shared = false;
            if let Some(theirs) = &last {
                if theirs.reservation.attempt == reservation.attempt {
                    items[n].held = last;
                    return Ok(Reached::Reserved);
                }
                match self.standing(append, item, &theirs.reservation).await? {
                    Standing::Written => return Ok(Reached::Written(theirs.reservation.holder)),
                    Standing::Held(kind) => return Err(AppendError::ClaimTaken { kind }),
                    Standing::Free => {}
                    Standing::Shared => shared = true,
                    Standing::Pending if waits < MAX_ATTEMPTS => {
                        // Whoever waits holds nothing that comes later in the order, so no two wait for each other.
                        self.withdraw_from(&mut items[n + 1..]).await;
                        pause(waits).await;
                        waits += 1;
                        continue;
                    }
                    Standing::Pending => {
                        return Err(unavailable(format!("{} is about to be taken by another command", item.what())).into());
                    }
                    Standing::Orphan(end) => {
                        if let Err(error) = self.fence(item, &theirs.reservation, end).await {
                            losses += u32::from(matches!(error, Error::WrongExpectedVersion { .. }));
                            failures += u32::from(!matches!(error, Error::WrongExpectedVersion { .. }));
                            pause(losses + failures).await;
                            continue;
                        }
                    }
                }
            }
            match self.put(item, last.as_ref(), reservation).await {
                Put::Reserved(last) => {
                    (items[n].held, items[n].shared) = (Some(last), shared);
                    return Ok(Reached::Reserved);
                }
                Put::Open(None) => {
                    pause(losses).await;
                    losses += 1;
                }
                Put::Open(error) => {
                    failure = error;
                    pause(failures).await;
                    failures += 1;
                }
            }
        }
        let contested = || unavailable(format!("{} is contested by too many at once", items[n].what()));
        Err(failure.unwrap_or_else(contested).into())
    }

    /// One try to reserve, over what stands.
    async fn put(&self, item: &Item, over: Option<&Last>, reservation: &Reservation) -> Put {
        if let (None, Some(ids)) = (&item.claim, self.0.command_ids.get()) {
            let over = over.map(|last| last.reservation.attempt);
            return match ids.reserve(reservation, over).await {
                Ok(standing) if standing.attempt == reservation.attempt => Put::Reserved(Last { revision: 0, reservation: standing }),
                Ok(_) => Put::Open(None),
                Err(error) => Put::Open(Some(error)),
            };
        }
        let event = match EventData::json("ClaimReserved", reservation) {
            Ok(event) => event,
            Err(error) => return Put::Open(Some(broken(error))),
        };
        let expected = over.map_or(StreamState::NoStream, |last| StreamState::StreamRevision(last.revision));
        match self.append_to(item.stream.clone(), expected, vec![event]).await {
            Ok(written) => Put::Reserved(Last { revision: written.next_expected_version, reservation: reservation.clone() }),
            Err(Error::WrongExpectedVersion { .. }) => Put::Open(None),
            Err(error) => Put::Open(Some(self.failed(error).await)),
        }
    }

    /// What is behind a reservation that stands.
    async fn standing(&self, append: &Append, item: &Item, theirs: &Reservation) -> Result<Standing, StoreError> {
        let index = self.index_of(theirs.holder);
        let mut index = index.lock().await;
        self.refresh(theirs.holder, &mut index).await?;
        let own = theirs.holder == append.stream;
        if (own || item.claim.is_none()) && index.commands.contains_key(&append.metadata.command_id) {
            return Ok(Standing::Written);
        }
        if let Some((kind, name)) = &item.claim
            && index.claims.get(name).copied().unwrap_or(false)
        {
            return Ok(if own { Standing::Free } else { Standing::Held(*kind) });
        }
        if theirs.withdrawn || index.commands.contains_key(&theirs.command_id) {
            return Ok(Standing::Free); // Refused, or taken and given back since.
        }
        if own && theirs.command_id == append.metadata.command_id {
            return Ok(Standing::Shared);
        }
        Ok(if self.is_orphan(&item.stream, theirs.attempt) { Standing::Orphan(index.end()) } else { Standing::Pending })
    }

    /// Whether a reservation stood for too long, by our own clock since its first sight: that needs no agreement of clocks.
    fn is_orphan(&self, stream: &str, attempt: Uuid) -> bool {
        let mut contested = self.0.contested.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if contested.len() > INDEXED_STREAMS {
            contested.retain(|_, (_, since)| since.elapsed() < ORPHAN_AFTER * 2);
        }
        let seen = contested.entry(stream.to_owned()).or_insert_with(|| (attempt, Instant::now()));
        if seen.0 != attempt {
            *seen = (attempt, Instant::now());
        }
        seen.1.elapsed() >= ORPHAN_AFTER
    }

    /// Makes an append fail that expects the holder's stream to end here, or earlier.
    async fn fence(&self, item: &Item, theirs: &Reservation, end: End) -> Result<(), Error> {
        tracing::warn!(stream = %theirs.holder, command_id = %theirs.command_id, "a command that was never written is fenced off");
        let fence = Fence { reservation: item.stream.clone(), attempt: theirs.attempt };
        let event = EventData::json(FENCE, &fence).map_err(|error| Error::InternalParsingError(error.to_string()))?;
        let fenced = self.append_to(theirs.holder.to_string(), end.state(), vec![event]).await;
        if let Err(error) = &fenced
            && !matches!(error, Error::WrongExpectedVersion { .. })
        {
            tracing::debug!(%error, "a fence could not be appended");
        }
        fenced.map(drop)
    }

    /// Takes back what was reserved, from the n-th item on.
    pub(super) async fn withdraw(&self, Reservations(items): &mut Reservations, n: usize) {
        self.withdraw_from(&mut items[n..]).await;
    }

    /// Takes back reservations of which no write is on the way, unless somebody reserved on top of them, or they stand on another
    /// try's. If this fails they become orphans.
    async fn withdraw_from(&self, items: &mut [Item]) {
        join_all(items.iter_mut().map(async |item| {
            let Some(last) = item.held.take().filter(|_| !item.shared) else { return };
            let withdrawn = Reservation { withdrawn: true, ..last.reservation };
            if let (None, Some(ids)) = (&item.claim, self.0.command_ids.get()) {
                ids.withdraw(&withdrawn).await;
            } else if let Ok(event) = EventData::json("ClaimReserved", &withdrawn)
                && let Err(error) = self.append_to(item.stream.clone(), StreamState::StreamRevision(last.revision), vec![event]).await
            {
                tracing::debug!(%error, "a reservation could not be withdrawn");
            }
        }))
        .await;
    }

    /// The stream that has reserved a command's id, if one has.
    pub(super) async fn command_holder(&self, tenant: TenantId, command: CommandId) -> Result<Option<StreamName>, StoreError> {
        if let Some(ids) = self.0.command_ids.get() {
            return Ok(ids.reserved(tenant, command).await?.map(|standing| standing.holder));
        }
        let last = self.last_reservation(&reservation_stream(tenant, &command_name(command))).await?;
        Ok(last.map(|last| last.reservation.holder))
    }

    async fn last(&self, append: &Append, item: &Item) -> Result<Option<Last>, StoreError> {
        if let (None, Some(ids)) = (&item.claim, self.0.command_ids.get()) {
            let standing = ids.reserved(append.scope.tenant(), append.metadata.command_id).await?;
            return Ok(standing.map(|reservation| Last { revision: 0, reservation }));
        }
        self.last_reservation(&item.stream).await
    }

    async fn last_reservation(&self, stream: &str) -> Result<Option<Last>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
        let last = self.read_with(stream, options).await?.pop();
        last.map(|event| Ok(Last { revision: event.revision, reservation: event.as_json().map_err(broken)? })).transpose()
    }
}
