//! The pure code that every command and every event goes through, piece by piece.
//!
//! `hot` says how long each takes. `hot PIECE TIMES` runs one so many times and says nothing: for counting its instructions
//! under callgrind, as `bench/instructions` does.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use domain::{
    Command, Facts, Standing, employee,
    organization::{DepartmentOn, JobOn},
};
use events::{Event, KeyState, PersonKey, Position, RecordedEvent, TenantId, TenantScope, Version};
use hot::careers;
use projector::{
    Capabilities,
    derived::Notes as _,
    employee::{Person, tables::PersonRows},
    projection::{Fold, Kinds, Projection, Rows as _, fold},
};
use uuid::Uuid;

/// What is in hand while a stream is folded.
type Model = <Capabilities as Projection>::Model;

/// How long each piece is measured.
const LENGTH: Duration = Duration::from_secs(1);
const ID: &str = "0190a7b2-6c3e-7def-8000-0123456789ab";

/// What is counted, and what it is.
const PIECES: [(&str, &str); 7] = [
    ("parse", "a pay change from JSON"),
    ("decide", "that change on a person with 20 events, and its claims"),
    ("evolve", "that person by its event"),
    ("decode", "a career of 10 events from the store's JSON"),
    ("open", "the hire's 3 sealed fields"),
    ("fold", "a career of 10 events into rows in COPY's format"),
    ("derive", "those rows into what derived tables note of them"),
];

fn main() -> anyhow::Result<()> {
    let mut hot = Hot::new()?;
    let mut arguments = std::env::args().skip(1);
    if let Some(piece) = arguments.next() {
        let times: u32 = arguments.next().context("usage: hot [PIECE TIMES]")?.parse()?;
        for _ in 0..times {
            hot.run(&piece)?;
        }
        return Ok(());
    }
    for (piece, what) in PIECES {
        let (started, mut times) = (Instant::now(), 0);
        while started.elapsed() < LENGTH {
            for _ in 0..100 {
                hot.run(piece)?;
            }
            times += 100;
        }
        println!("{piece:<7} {:>10.2?}   {what}", started.elapsed() / times);
    }
    Ok(())
}

/// Everything at hand.
struct Hot {
    json: String,
    change: employee::Command,
    person: employee::State,
    evolved: employee::State,
    changed: Vec<events::employee::EmployeeEvent>,
    career: Vec<(RecordedEvent, Event)>,
    sealed: Event,
    key: KeyState,
    /// What the career comes to.
    rows: PersonRows,
}

impl Hot {
    fn new() -> anyhow::Result<Self> {
        let hire = command(
            "HireEmployee",
            &format!(
                r#""hire_date":"1985-06-01","employee_number":"10001","person":{{"given_name":"Georgi","family_name":"Facello"}},
                "assignment":{{"department_id":"{ID}","job_id":"{ID}"}},"pay":{{"rate":{{"amount":"60000","currency":"USD"}},"per":"year"}}"#
            ),
        )?;
        let (mut facts, on) = (Facts::none(), jiff::civil::date(1985, 6, 1));
        facts.insert(DepartmentOn { department: ID.parse()?, on }, Standing::Open);
        facts.insert(JobOn { job: ID.parse()?, on }, Standing::Open);
        let mut person = employee::State::default();
        person = person.decide(&hire, &facts)?.iter().fold(person, employee::State::evolve);
        for n in 0..19 {
            let change = command("ChangeCompensation", &raise(1986 + n, 60_001 + u32::from(n)))?;
            person = person.decide(&change, &Facts::none())?.iter().fold(person, employee::State::evolve);
        }
        let json = raise(2010, 99_999);
        let change = command("ChangeCompensation", &json)?;
        let changed = person.decide(&change, &Facts::none())?;
        // The same event again is replaced in place, so this state keeps its size.
        let evolved = changed.iter().fold(person.clone(), employee::State::evolve);

        let scope = TenantScope::checked(TenantId::from_uuid(Uuid::from_u128(7)));
        let key = PersonKey::generate();
        let career = careers::career(scope, 10_000, 42)?.into_iter().map(|(stream, version, event)| {
            let mut sealed = event.clone();
            sealed.seal(stream, |_| Some(&key))?;
            let recorded = RecordedEvent {
                id: events::EventId::from_uuid(Uuid::from_u128(version.into())),
                tenant: scope.tenant(),
                stream,
                version: Version(version),
                position: Position(version),
                event_type: event.event_type().to_owned(),
                schema_version: event.schema_version(),
                recorded_at: jiff::Timestamp::UNIX_EPOCH,
                metadata: careers::metadata(),
                data: sealed.to_data()?,
            };
            anyhow::Ok((recorded, event))
        });
        let career = career.collect::<anyhow::Result<Vec<_>>>()?;
        let sealed = Event::decode(&career.first().context("a career begins")?.0)?;
        let rows = PersonRows::default();
        let mut hot = Self { json, change, person, evolved, changed, career, sealed, key: KeyState::Held(key), rows };
        hot.fold()?;
        Ok(hot)
    }

    /// Folds the career into its rows.
    fn fold(&mut self) -> anyhow::Result<()> {
        let mut model = Model::default();
        for (recorded, event) in &self.career {
            fold::<Capabilities>(&mut model, recorded.stream, recorded.version, black_box(event), Kinds::OneStream)?;
        }
        self.rows.clear();
        let (_, ((people, ..), ..)) = &model;
        for (id, person) in people {
            person.rows(*id, &mut self.rows);
        }
        Ok(())
    }

    /// One piece, once.
    fn run(&mut self, piece: &str) -> anyhow::Result<()> {
        match piece {
            "parse" => drop(black_box(command("ChangeCompensation", black_box(&self.json))?)),
            "decide" => {
                let events = black_box(&self.person).decide(black_box(&self.change), &Facts::none())?;
                black_box(self.person.claims(&events));
            }
            "evolve" => self.evolved = self.changed.iter().fold(std::mem::take(&mut self.evolved), employee::State::evolve),
            "decode" => {
                for (recorded, _) in &self.career {
                    black_box(Event::decode(black_box(recorded))?);
                }
            }
            "open" => {
                let mut event = self.sealed.clone();
                event.open(self.career.first().context("a career begins")?.0.stream, |_| &self.key)?;
                black_box(event);
            }
            "fold" => {
                let mut tables = vec![Vec::new(); PersonRows::TABLES.len()];
                self.fold()?;
                self.rows.copy(&mut tables);
                black_box(tables);
            }
            "derive" => {
                let mut derived = <Person as Fold>::Derived::default();
                derived.note_new(black_box(&self.rows))?;
                black_box(derived);
            }
            _ => anyhow::bail!("the pieces are {}", PIECES.map(|(piece, _)| piece).join(", ")),
        }
        Ok(())
    }
}

fn command(name: &str, fields: &str) -> anyhow::Result<employee::Command> {
    let data = serde_json::value::RawValue::from_string(format!("{{\"employee_id\":\"{ID}\",{fields}}}"))?;
    let Command::Employee(command) = Command::parse(name, &data)? else { anyhow::bail!("not an employee's command") };
    Ok(command)
}

fn raise(year: u16, amount: u32) -> String {
    format!(
        r#""effective_on":"{year}-01-01","pay":{{"rate":{{"amount":"{amount}","currency":"USD"}},"per":"year"}},"reason":"annual_review""#
    )
}
