-- An excerpt of the ledger without its lines, as one JSON object: `Reach` says what, `Excerpt` how.
-- In a `cross join` SQLite takes the left side first, which is the short one here.
with
    reach as materialized (
        select
            ?1 ->> 'now' as now,
            ?1 ->> 'users_of' as users_of,
            ?1 ->> 'all_licenses' as all_licenses
    ),
    everyone as materialized (
        select value as holder from json_each(?1, '$.holders')
        union
        select holder from tower_holder
        where revoked = 0
            and active_until > (select clock from tower_tenant)
            and active_until <= (select now from reach)
        union
        select holder from tower_assignment where module = (select users_of from reach)
    ),
    assigned as materialized (
        select holder, module, seq, at from everyone cross join tower_assignment using (holder)
    ),
    named (module) as (
        select value from json_each(?1, '$.modules')
        union
        select users_of from reach where users_of is not null
        union
        select module from assigned
    ),
    mapped as materialized (
        select module, license from named cross join tower_module using (module)
    ),
    needed (license) as materialized (
        select value from json_each(?1, '$.licenses')
        union
        select license from mapped where license is not null
        union
        select license from tower_license
        where valid_until > (select clock from tower_tenant)
            and valid_until <= (select now from reach)
        union
        select license from tower_license, reach where all_licenses
    )
select json_object(
    'now', ?1 ->> 'now',
    'clock', clock,
    'seq', seq,
    'limited_edition', iif(limited_edition, json('true'), json('false')),
    'ops', ops,
    'holders', (
        select json_group_array(json_object(
            'holder', holder,
            'enabled', iif(enabled, json('true'), json('false')),
            'active_until', active_until,
            'revoked', iif(revoked, json('true'), json('false'))
        )) from everyone cross join tower_holder using (holder)
    ),
    'others', json('[]'),
    'assignments', (
        select json_group_array(json_object('holder', holder, 'module', module, 'seq', seq, 'at', at))
        from assigned
    ),
    'modules', (
        select json_group_array(json_object('module', module, 'license', license)) from mapped
    ),
    'licenses', (
        select json_group_array(json_object(
            'license', license, 'seats', seats, 'valid_until', valid_until
        )) from needed cross join tower_license using (license)
    ),
    'used', (
        select json_group_array(json_array(license, (
            select count(*) from tower_place as place
            where place.license = needed.license and seat is not null
        ))) from needed
    ),
    'idle', (
        select json_group_array(license) from needed where not exists (
            select 1 from tower_place as place
            where place.license = needed.license and seat is null
        )
    ),
    'places', (
        select json_group_array(json_object(
            'license', license, 'holder', holder,
            'seq', seq, 'at', at, 'seat', seat, 'seat_at', seat_at
        )) from everyone cross join tower_place using (holder)
    )
)
from tower_tenant
