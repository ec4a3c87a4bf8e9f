//! The nouns as the OpenAPI document describes them: by the rules that parse them.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        OpenApi, OpenApiBuilder, RefOr, Required, Schema,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{
            AnyOfBuilder, ComponentsBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType,
            Type,
        },
    },
};

use super::{audit::EventName, problem::Problem};
use crate::{
    clock::Timestamp,
    key_store::{AddressRange, Environment, KeyId, Scope, Tier},
    license_ledger::{Actor, Holder, LicenseId, Module, Seats},
};

/// A document with the schemas that are named, and that the macros do not collect themselves: of
/// refusals and of parameters.
pub(super) fn not_collected() -> OpenApi {
    let components = ComponentsBuilder::new()
        .schema_from::<Problem>()
        .schema_from::<EventName>()
        .schema_from::<KeyId>();
    let document = OpenApiBuilder::new().components(Some(components.build()));
    document.build()
}

/// A header that may be left out.
pub(super) fn optional_header(
    name: &str,
    description: &str,
    schema: ObjectBuilder,
) -> Vec<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema));
    vec![parameter.build()]
}

macro_rules! name_schema {
    ($($name:ident: $most:literal, $pattern:literal, $description:literal;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some($most))
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

name_schema! {
    Module: 200, r"^(\.{0,2}[!-\-/-~]|\.{3})[!-~]*$", "A module resource key, such as `launcher`.";
    LicenseId: 200, r"^(\.{0,2}[!-\-/-~]|\.{3})[!-~]*$", "The id of a license.";
    Holder: 512, "^[!-~]+$", "A key's id, or a user as `issuer|subject`.";
    Actor: 200, "^[!-~]+$", "Who did it: `key:` and the key's id, `system`, or what the host calls its people.";
    KeyId: 128, r"^(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*$", "The public id of a key.";
    Scope: 200, r"^[!#-\[\]-~]+$", "A scope (RFC 6749 §3.3), such as `read:realms`.";
    Tier: 64, r"^(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*$", "The name of a rate tier.";
    Environment: 16, "^[a-z][a-z0-9]*$", "The environment a key is for.";
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("An instant (RFC 3339), in UTC."))
            .into()
    }
}

impl ToSchema for Timestamp {}

impl PartialSchema for Seats {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
            .minimum(Some(0_u64))
            .maximum(Some(u64::from(u32::MAX)))
            .description(Some(
                "How many may hold it at once; null: as many as want to.",
            ))
            .into()
    }
}

impl ToSchema for Seats {}

impl PartialSchema for AddressRange {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let format = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
        let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
        let ipv4 = format!(r"({octet}\.){{3}}{octet}");
        let ipv4_range = format!("^{ipv4}/(3[0-2]|[12]?[0-9])$");
        // By where `::` stands in it, if it does (RFC 4291 §2.2).
        let group = "[0-9A-Fa-f]{1,4}";
        let mut forms = vec![
            format!("({group}:){{7}}{group}"),
            format!("({group}:){{1,7}}:"),
            format!(":((:{group}){{1,7}}|:)"),
            format!("::[Ff]{{4}}:{ipv4}"),
        ];
        forms.extend((1..=6).map(|before| {
            let behind = 7 - before;
            format!("({group}:){{{before}}}(:{group}){{1,{behind}}}")
        }));
        let forms = forms.join("|");
        let ipv6_range = format!("^({forms})/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$");
        AnyOfBuilder::new()
            .item(format(KnownFormat::Ipv4))
            .item(format(KnownFormat::Ipv6))
            .item(text().pattern(Some(ipv4_range)))
            .item(text().pattern(Some(ipv6_range)))
            .description(Some(
                "An address, or a range in CIDR notation, such as 10.0.0.0/8.",
            ))
            .into()
    }
}

impl ToSchema for AddressRange {}
