-- An excerpt of the ledger, as one JSON object: `Reach` ($1) says what, `Excerpt` how. $2 is the
-- tenant, $3 whether the newest reservation goes first.
with
    own as materialized (
        select clock, seq, limited_edition, ops from {schema}.tower_tenant where tenant = $2
    ),
    instant as materialized (
        select case when ($1 ->> 'operations')::bigint > 0 then coalesce(
            ($1 ->> 'now')::bigint,
            (extract(epoch from clock_timestamp()) * 1000000)::bigint
        ) end as now
    ),
    reach as materialized (
        select
            now,
            greatest(clock, now) as latest,
            ($1 ->> 'operations')::bigint as operations,
            $1 ->> 'users_of' as users_of,
            ($1 ->> 'all_licenses')::boolean as all_licenses,
            ($1 ->> 'emptied')::boolean as emptied,
            $1 #>> '{resized,license}' as resized,
            ($1 #>> '{resized,seats}')::bigint as resized_seats,
            ($1 #>> '{resized,valid_until}')::bigint as resized_end
        from own, instant
    ),
    everyone as materialized (
        select jsonb_array_elements_text($1 -> 'holders') collate "C" as holder
        union
        select holder from {schema}.tower_holder, own, reach
        where tenant = $2 and not revoked and active_until > clock and active_until <= now
        union
        select holder from {schema}.tower_assignment, reach
        where tenant = $2 and module = users_of
    ),
    assigned as materialized (
        select holder, module, known.seq, at
        from everyone join {schema}.tower_assignment as known using (holder)
        where tenant = $2
    ),
    named as (
        select jsonb_array_elements_text($1 -> 'modules') collate "C" as module
        union
        select users_of from reach where users_of is not null
        union
        select module from assigned
    ),
    mapped as materialized (
        select module, license from named join {schema}.tower_module using (module)
        where tenant = $2
    ),
    needed as (
        select jsonb_array_elements_text($1 -> 'licenses') collate "C" as license
        union
        select license from mapped where license is not null
        union
        select license from {schema}.tower_license, own, reach
        where tenant = $2 and (all_licenses or valid_until > clock and valid_until <= now)
    ),
    counted as materialized (
        select
            needed.license,
            known.license is not null as is_known,
            known.seats,
            known.valid_until,
            (
                select count(*) from {schema}.tower_place as place
                where place.tenant = $2 and place.license = needed.license and seat is not null
            ) as used
        from needed left join {schema}.tower_license as known on known.tenant = $2
            and known.license = needed.license
    ),
    judged as (
        select
            counted.*,
            operations,
            resized_seats,
            counted.license = resized as is_resized,
            is_known and all_licenses as is_refilled,
            coalesce(valid_until <= latest, false)
                or coalesce(counted.license = resized and resized_end <= latest, false)
                or emptied and (all_licenses or $1 -> 'licenses' ? counted.license) as is_emptied
        from counted, reach
        where operations > 0
    ),
    moves as materialized (
        select
            license,
            case
                when is_emptied then used
                when is_resized and resized_seats is not null
                    then greatest(used - resized_seats, 0)
                else 0
            end as reserved,
            operations + 2 * (select count(*) from everyone) + case
                when is_resized and resized_seats is null then 1000000000000
                when is_resized
                    then greatest(resized_seats - case when is_emptied then 0 else used end, 0)
                when is_refilled and seats is null then 1000000000000
                when is_refilled then greatest(seats - case when is_emptied then 0 else used end, 0)
                else 0
            end as waiting
        from judged
    ),
    places as materialized (
        select license, holder, place.seq, at, seat, seat_at
        from everyone join {schema}.tower_place as place using (holder)
        where tenant = $2
        union
        select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
            select * from {schema}.tower_place as place
            where not $3 and place.tenant = $2 and place.license = moves.license
            and seat is not null
            order by seat limit moves.reserved
        ) as line
        union
        select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
            select * from {schema}.tower_place as place
            where $3 and place.tenant = $2 and place.license = moves.license
            and seat is not null
            order by seat desc limit moves.reserved
        ) as line
        union
        select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
            select * from {schema}.tower_place as place
            where place.tenant = $2 and place.license = moves.license and seat is null
            order by place.seq limit moves.waiting
        ) as line
    )
select json_build_object(
    'now', (select now from instant),
    'clock', clock,
    'seq', seq,
    'limited_edition', limited_edition,
    'ops', ops,
    'holders', (
        select coalesce(json_agg(json_build_object(
            'holder', holder, 'enabled', enabled,
            'active_until', active_until, 'revoked', revoked
        )), '[]') from everyone join {schema}.tower_holder using (holder) where tenant = $2
    ),
    'others', (
        select coalesce(json_agg(json_build_object(
            'holder', holder, 'enabled', enabled,
            'active_until', active_until, 'revoked', revoked
        )), '[]')
        from {schema}.tower_holder
        where tenant = $2
        and holder in (select holder from places except select holder from everyone)
    ),
    'assignments', (
        select coalesce(json_agg(json_build_object(
            'holder', holder, 'module', module, 'seq', seq, 'at', at
        )), '[]') from assigned
    ),
    'modules', (
        select coalesce(json_agg(json_build_object('module', module, 'license', license)), '[]')
        from mapped
    ),
    'licenses', (
        select coalesce(json_agg(json_build_object(
            'license', license, 'seats', seats, 'valid_until', valid_until
        )), '[]') from counted where is_known
    ),
    'used', (
        select coalesce(json_agg(json_build_array(license, used)), '[]') from counted
    ),
    'places', (
        select coalesce(json_agg(json_build_object(
            'license', license, 'holder', holder, 'seq', seq, 'at', at,
            'seat', seat, 'seat_at', seat_at
        )), '[]') from places
    )
)::text
from own
