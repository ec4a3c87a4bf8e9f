//! Short words for operations, names and events, so that a case reads like its rule.

use crate::{
    clock::Timestamp,
    key_store::KeyId,
    license_ledger::{
        EventKind, Holder, License, LicenseEvent, LicenseId, Module, Operation, Seats,
    },
};

/// An event in few words; numbers, instants and actors are compared elsewhere.
pub(in crate::conformance) fn text(event: &LicenseEvent) -> String {
    let or_none = |license: &Option<LicenseId>| match license {
        Some(license) => license.to_string(),
        None => "nothing".to_owned(),
    };
    match &event.kind {
        EventKind::KeyCreated { holder } => format!("created {holder}"),
        EventKind::KeyChanged { holder, changed } => format!("changed {holder} {changed:?}"),
        EventKind::KeyRegenerated { holder } => format!("regenerated {holder}"),
        EventKind::KeyRevoked { holder } => format!("revoked {holder}"),
        EventKind::KeyExpired { holder } => format!("expired {holder}"),
        EventKind::KeyDeleted { holder } => format!("deleted {holder}"),
        EventKind::KeyDisabled { holder } => format!("disabled {holder}"),
        EventKind::KeyEnabled { holder } => format!("enabled {holder}"),
        EventKind::ModuleAssigned { holder, module } => format!("assigned {holder} {module}"),
        EventKind::ModuleUnassigned { holder, module } => format!("unassigned {holder} {module}"),
        EventKind::ModuleMapped { module, license } => {
            format!("mapped {module} to {}", or_none(license))
        }
        EventKind::LicenseAdded { license, seats, .. } => format!("added {license} with {seats}"),
        EventKind::LicenseRemoved { license } => format!("removed {license}"),
        EventKind::LicenseExpired { license } => format!("expired {license}"),
        EventKind::LicenseRenewed { license, .. } => format!("renewed {license}"),
        EventKind::ValidityChanged { license, .. } => format!("validity of {license}"),
        EventKind::CountChanged { license, from, to } => format!("{license} from {from} to {to}"),
        EventKind::LimitedEditionChanged { enabled } => format!("limited edition {enabled}"),
        EventKind::Reserved {
            license,
            holder,
            cause,
        } => format!("reserved {license} for {holder}: {cause:?}"),
        EventKind::ReservationRemoved {
            license,
            holder,
            cause,
        } => format!("took {license} from {holder}: {cause:?}"),
        EventKind::ReservationFailed {
            module,
            license,
            holder,
            reason,
        } => format!(
            "no {} for {holder}'s {module}: {reason:?}",
            or_none(license)
        ),
    }
}

/// 2026-01-01T00:00:00Z and so many seconds.
pub(in crate::conformance) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_767_225_600 + seconds)
}

pub(in crate::conformance) fn holder(text: &str) -> Holder {
    Holder::new(text).expect("the suite's own names are valid")
}

pub(in crate::conformance) fn module(text: &str) -> Module {
    Module::new(text).expect("the suite's own names are valid")
}

pub(in crate::conformance) fn license(text: &str) -> LicenseId {
    LicenseId::new(text).expect("the suite's own names are valid")
}

pub(in crate::conformance) fn key(text: &str) -> KeyId {
    KeyId::new(text).expect("the suite's own names are valid")
}

pub(in crate::conformance) fn assign(holder: &str, modules: &[&str]) -> Operation {
    Operation::Assign {
        holder: self::holder(holder),
        modules: modules.iter().map(|text| module(text)).collect(),
    }
}

pub(in crate::conformance) fn unassign(holder: &str, modules: &[&str]) -> Operation {
    Operation::Unassign {
        holder: self::holder(holder),
        modules: modules.iter().map(|text| module(text)).collect(),
    }
}

pub(in crate::conformance) fn delete(holder: &str) -> Operation {
    Operation::DeleteKey {
        holder: self::holder(holder),
    }
}

pub(in crate::conformance) fn revoke(holder: &str) -> Operation {
    Operation::RevokeKey {
        holder: self::holder(holder),
    }
}

pub(in crate::conformance) fn set_active(holder: &str, active: bool) -> Operation {
    Operation::SetActive {
        holder: self::holder(holder),
        active,
    }
}

pub(in crate::conformance) fn set_active_until(holder: &str, seconds: Option<i64>) -> Operation {
    Operation::SetActiveUntil {
        holder: self::holder(holder),
        active_until: seconds.map(at),
    }
}

pub(in crate::conformance) fn set(
    license: &str,
    seats: Seats,
    valid_until: Option<i64>,
) -> Operation {
    let license = License::new(self::license(license), seats);
    Operation::SetLicense {
        license: license.with_valid_until(valid_until.map(at)),
    }
}

pub(in crate::conformance) fn set_if(license: License, expected: Option<License>) -> Operation {
    Operation::SetLicenseIf { license, expected }
}

pub(in crate::conformance) fn remove_if(expected: License) -> Operation {
    Operation::RemoveLicenseIf { expected }
}

pub(in crate::conformance) fn remove(license: &str) -> Operation {
    Operation::RemoveLicense {
        license: self::license(license),
    }
}

pub(in crate::conformance) fn map(module: &str, license: &str) -> Operation {
    Operation::MapModule {
        module: self::module(module),
        license: Some(self::license(license)),
    }
}

pub(in crate::conformance) fn map_to_nothing(module: &str) -> Operation {
    Operation::MapModule {
        module: self::module(module),
        license: None,
    }
}

pub(in crate::conformance) fn limited_edition(enabled: bool) -> Operation {
    Operation::SetLimitedEdition { enabled }
}
