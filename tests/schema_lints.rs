//! What Supabase's linter and docs/security.md ask of every table, function, policy and view.

use anyhow::Result;

use crate::support::Database;

/// Queries that give the names of what breaks a rule.
const LINTS: &[(&str, &str)] = &[
    (
        "row level security is on for every table",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and not c.relrowsecurity
           and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and c.relname <> 'migrations'",
    ),
    (
        "every table in devart has a policy",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and c.relnamespace = 'devart'::regnamespace
           and not exists (select from pg_policy p where p.polrelid = c.oid)",
    ),
    (
        "one permissive policy per role and action",
        "select format('%s %s %s', tablename, cmd, roles) from pg_policies where schemaname = 'devart'
         group by tablename, cmd, roles having count(*) > 1",
    ),
    (
        "policies name their role",
        "select policyname::text from pg_policies where schemaname = 'devart' and roles = '{public}'",
    ),
    (
        "definer functions pin their path and belong to devart_owner",
        "select p.oid::regprocedure::text from pg_proc p
         where p.prosecdef and p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and (p.proowner <> 'devart_owner'::regrole
                or not coalesce(array_to_string(p.proconfig, ' ') like '%search_path=%', false))",
    ),
    (
        "nobody in particular can execute nothing",
        "select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)",
    ),
    (
        "foreign keys have an index",
        "select k.conname::text from pg_constraint k
         where k.contype = 'f' and k.connamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and not exists (
               select from pg_index i where i.indrelid = k.conrelid
                 and (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)] = k.conkey)",
    ),
    (
        "tables have a primary key",
        "select c.oid::regclass::text from pg_class c
         where c.relkind in ('r', 'p') and c.relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
           and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)",
    ),
    (
        "views run as the caller",
        "select c.oid::regclass::text from pg_class c
         where c.relkind = 'v' and c.relnamespace = 'devart'::regnamespace
           and not coalesce('security_invoker=true' = any (c.reloptions), false)",
    ),
];

#[tokio::test]
async fn the_schema_passes_the_lints() -> Result<()> {
    let db = Database::create().await?;
    for (rule, query) in LINTS {
        let broken: Vec<String> = sqlx::query_scalar(*query).fetch_all(&db.owner).await?;
        assert!(broken.is_empty(), "{rule}, but not: {broken:#?}");
    }
    Ok(())
}
