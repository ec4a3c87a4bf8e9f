//! The lines of an archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    key_store::{
        AddressRange, Environment, KeyDigest, KeyId, KeyRecord, PreviousDigest, Scope, Tier,
    },
    keys::{ManageError, check_hint, check_text},
    license_ledger::{
        Actor, EventKind, Holder, HolderState, License, LicenseEvent, LicenseId, Module, Operation,
        Seats,
    },
    transfer::{
        Archive, Ledger, LedgerCopy, TransferError,
        fields::{self, Flaw},
    },
};

/// The first line of a copy.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u64,
    clock: Timestamp,
    // A copy that was cut off is noticed by these.
    keys: usize,
    holders: usize,
    events: usize,
}

const VERSION: u64 = 1;

/// A [`KeyRecord`] of which a field that is not known is an error: one that is written wrong would
/// otherwise be left out, such as `enabled`.
#[derive(Deserialize)]
#[serde(remote = "KeyRecord", deny_unknown_fields)]
struct KeyFields {
    id: KeyId,
    digest: KeyDigest,
    #[serde(default)]
    previous: Option<PreviousDigest>,
    #[serde(default)]
    hint: String,
    name: String,
    #[serde(default = "Environment::live")]
    environment: Environment,
    created_at: Timestamp,
    #[serde(default)]
    last_used_at: Option<Timestamp>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    revoked_at: Option<Timestamp>,
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(default)]
    administrator: bool,
    #[serde(default)]
    scopes: BTreeSet<Scope>,
    #[serde(default)]
    tier: Option<Tier>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    allowed_addresses: Vec<AddressRange>,
    #[serde(default)]
    modules: Vec<Module>,
    #[serde(default)]
    revision: u64,
}

fn enabled() -> bool {
    true
}

#[derive(Deserialize)]
struct KeyLine(#[serde(deserialize_with = "KeyFields::deserialize")] KeyRecord);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderLine {
    holder: Holder,
    active: bool,
    active_until: Option<Timestamp>,
    revoked: bool,
}

/// What stands in an event's line beside its kind.
#[derive(Deserialize)]
struct EventHead {
    seq: u64,
    at: Timestamp,
    actor: Actor,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenseLine {
    id: LicenseId,
    // Where there is no number there is no limit: that must be said.
    #[serde(deserialize_with = "Seats::deserialize")]
    seats: Seats,
    #[serde(default, deserialize_with = "limit")]
    valid_until: Option<Timestamp>,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let limit = text.map(|text| Timestamp::parse_limit(&text)).transpose();
    limit.map_err(serde::de::Error::custom)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleLine {
    module: Module,
    // As with seats: none must be said.
    #[serde(deserialize_with = "Option::deserialize")]
    license: Option<LicenseId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignLine {
    holder: Holder,
    modules: Vec<Module>,
}

impl Archive {
    /// Reads lines of either kind, to their end. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// [`Line`](TransferError::Line) names what is wrong where;
    /// [`Inconsistent`](TransferError::Inconsistent) where a copy does not fit together as a whole.
    pub fn read(input: impl BufRead) -> Result<Self, TransferError> {
        let mut reading = Reading::default();
        for line in input.split(b'\n') {
            let line = line.map_err(TransferError::Read)?;
            reading.line += 1;
            if !line.trim_ascii().is_empty() {
                let taken = reading.take(&line);
                taken.map_err(|flaw| flaw_in(reading.line, flaw))?;
            }
        }
        reading.end()
    }

    /// Writes lines that [`read`](Self::read) reads. They hold no key's text; the digests are as
    /// good as what they are stored in.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn write(&self, mut output: impl Write) -> io::Result<()> {
        if let Ledger::Copy(copy) = &self.ledger {
            let head = Head {
                version: VERSION,
                clock: copy.clock(),
                keys: self.keys.len(),
                holders: copy.holders().len(),
                events: copy.events().len(),
            };
            write_line(&mut output, "copy", &head)?;
        }
        for key in &self.keys {
            write_line(&mut output, "key", key)?;
        }
        match &self.ledger {
            Ledger::Copy(copy) => {
                for known in copy.holders() {
                    let known = known.clone();
                    let holder = HolderLine {
                        holder: known.holder,
                        active: known.active,
                        active_until: known.active_until,
                        revoked: known.revoked,
                    };
                    write_line(&mut output, "holder", &holder)?;
                }
                for event in copy.events() {
                    write_line(&mut output, "event", event)?;
                }
            }
            Ledger::Additions(operations) => {
                for operation in operations {
                    write_operation(&mut output, operation)?;
                }
            }
        }
        output.flush()
    }
}

fn write_line(output: &mut impl Write, name: &str, object: &impl Serialize) -> io::Result<()> {
    let object = serde_json::to_string(object)?;
    writeln!(output, "{{\"{name}\":{object}}}")
}

fn write_operation(output: &mut impl Write, operation: &Operation) -> io::Result<()> {
    match operation.clone() {
        Operation::SetLicense { license } => write_line(output, "license", &license),
        Operation::MapModule { module, license } => {
            write_line(output, "module", &ModuleLine { module, license })
        }
        Operation::Assign { holder, modules } => {
            write_line(output, "assign", &AssignLine { holder, modules })
        }
        // No line is read as any other.
        _ => Ok(()),
    }
}

/// What the lines so far have said.
#[derive(Default)]
struct Reading {
    line: usize,
    /// With the number of its line.
    head: Option<(usize, Head)>,
    keys: Vec<KeyRecord>,
    ids: BTreeMap<KeyId, usize>,
    digests: BTreeMap<KeyDigest, usize>,
    holders: Vec<HolderState>,
    events: Vec<LicenseEvent>,
    /// The lines of the events.
    event_lines: Vec<usize>,
    operations: Vec<Operation>,
}

impl Reading {
    fn take(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let object: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| Flaw::whole(error.to_string()))?;
        let mut members = object.into_iter();
        let (Some((name, Value::Object(object))), None) = (members.next(), members.next()) else {
            return Err(Flaw::whole("is not an object with one object in it"));
        };
        let is_copy = self.head.is_some();
        let belongs = match name.as_str() {
            "key" => true,
            "holder" | "event" => is_copy,
            "license" | "module" | "assign" => !is_copy,
            "copy" => !is_copy && self.keys.is_empty() && self.operations.is_empty(),
            _ => return Err(Flaw::new(name, "is no line of an archive")),
        };
        if !belongs {
            let problem = match (is_copy, name.as_str()) {
                (_, "copy") => "is the first line, or none",
                (true, _) => "has no place in a copy",
                (false, _) => "has its place in a copy, whose first line is `copy`",
            };
            return Err(Flaw::new(name, problem));
        }
        let taken = match name.as_str() {
            "copy" => self.take_head(&object),
            "key" => self.take_key(&object),
            "holder" => self.take_holder(&object),
            "event" => self.take_event(object),
            _ => fields_of(&name, &object).map(|operation| self.operations.push(operation)),
        };
        taken.map_err(|flaw| flaw.within(&name))
    }

    fn take_head(&mut self, object: &Map<String, Value>) -> Result<(), Flaw> {
        if let Some(version) = object.get("version").and_then(Value::as_u64)
            && version != VERSION
        {
            let problem = format!("is {version}, and this crate reads {VERSION}");
            return Err(Flaw::new("version", problem));
        }
        self.head = Some((self.line, fields::read(object)?));
        Ok(())
    }

    fn take_key(&mut self, object: &Map<String, Value>) -> Result<(), Flaw> {
        let KeyLine(key) = fields::read(object)?;
        if self.head.is_none() {
            check(&key)?;
        }
        let is_at = |line: usize| format!("is that of line {line} too");
        if let Some(line) = self.ids.insert(key.id.clone(), self.line) {
            return Err(Flaw::new("id", is_at(line)));
        }
        let previous = key.previous.as_ref().map(|previous| previous.digest);
        let digests = [("digest", Some(key.digest)), ("previous", previous)];
        for (field, digest) in digests {
            if let Some(digest) = digest
                && let Some(line) = self.digests.insert(digest, self.line)
                && line != self.line
            {
                return Err(Flaw::new(field, is_at(line)));
            }
        }
        self.keys.push(key);
        Ok(())
    }

    fn take_holder(&mut self, object: &Map<String, Value>) -> Result<(), Flaw> {
        let line: HolderLine = fields::read(object)?;
        let known = HolderState::new(line.holder, line.active, line.active_until, line.revoked);
        self.holders.push(known);
        Ok(())
    }

    fn take_event(&mut self, mut object: Map<String, Value>) -> Result<(), Flaw> {
        let head: EventHead = fields::read(&object)?;
        object.retain(|name, _| !["seq", "at", "actor"].contains(&name.as_str()));
        let kind: EventKind = fields::read(&object)?;
        self.events
            .push(LicenseEvent::new(head.seq, head.at, head.actor, kind));
        self.event_lines.push(self.line);
        Ok(())
    }

    fn end(self) -> Result<Archive, TransferError> {
        let Some((line, head)) = self.head else {
            return Ok(Archive {
                keys: self.keys,
                ledger: Ledger::Additions(self.operations),
            });
        };
        for (field, said, found) in [
            ("keys", head.keys, self.keys.len()),
            ("holders", head.holders, self.holders.len()),
            ("events", head.events, self.events.len()),
        ] {
            if said != found {
                let problem =
                    format!("says {said}, and there are {found}: some lines are missing or new");
                return Err(flaw_in(line, Flaw::new(field, problem).within("copy")));
            }
        }
        let copy = LedgerCopy::new(head.clock, self.holders, self.events);
        let copy = copy.map_err(|error| match error.index() {
            Some(index) => flaw_in(
                self.event_lines[index],
                Flaw::new("event", error.to_string()),
            ),
            None => TransferError::Inconsistent(error),
        })?;
        Ok(Archive {
            keys: self.keys,
            ledger: Ledger::Copy(copy),
        })
    }
}

/// An addition to the ledger.
fn fields_of(name: &str, object: &Map<String, Value>) -> Result<Operation, Flaw> {
    Ok(match name {
        "license" => {
            let line: LicenseLine = fields::read(object)?;
            let license = License::new(line.id, line.seats).with_valid_until(line.valid_until);
            Operation::SetLicense { license }
        }
        "module" => {
            let ModuleLine { module, license } = fields::read(object)?;
            Operation::MapModule { module, license }
        }
        _ => {
            let AssignLine { holder, modules } = fields::read(object)?;
            Operation::Assign { holder, modules }
        }
    })
}

/// Holds a key from elsewhere to what `KeyManager` holds new ones to.
fn check(key: &KeyRecord) -> Result<(), Flaw> {
    let checked = check_text("name", &key.name)
        .and_then(|()| check_hint(&key.hint))
        .and_then(|()| match &key.owner {
            Some(owner) => check_text("owner", owner),
            None => Ok(()),
        });
    checked.map_err(|error| match error {
        ManageError::InvalidField { field, problem } => Flaw::new(field, problem),
        other => Flaw::whole(other.to_string()),
    })?;
    match key.modules.is_empty() {
        true => Ok(()),
        false => Err(Flaw::new(
            "modules",
            "are assigned by lines of their own, `assign`",
        )),
    }
}

fn flaw_in(line: usize, flaw: Flaw) -> TransferError {
    TransferError::Line {
        line,
        field: flaw.field,
        problem: flaw.problem,
    }
}
