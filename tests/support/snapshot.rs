//! Whole databases as text, to compare.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgPool, Result};

/// What the catalogs say of devart's objects, one line each: definitions, owners and privileges.
pub async fn catalog(pool: &PgPool) -> Result<Vec<String>> {
    sqlx::query_scalar(CATALOG).fetch_all(pool).await
}

/// The rows of every table of devart as JSON, by table.
pub async fn rows(pool: &PgPool) -> Result<BTreeMap<String, Vec<String>>> {
    let mut all = BTreeMap::new();
    for table in tables(pool).await? {
        let query = format!("select to_jsonb(t)::text from {table} t order by 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_all(pool)
            .await?;
        all.insert(table, rows);
    }
    Ok(all)
}

/// Every table of devart, qualified.
pub async fn tables(pool: &PgPool) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and n.nspname in ('devart', 'devart_private', 'auth')
         order by 1",
    )
    .fetch_all(pool)
    .await
}

const CATALOG: &str = "
    with ours as (select oid, nspname from pg_namespace where nspname in ('devart', 'devart_private', 'auth'))
    select line from (
        select format('schema %s %s %s', n.nspname, n.nspowner::regrole, n.nspacl) as line
        from pg_namespace n join ours using (oid)
        union all
        select format('relation %s %s %s %s %s %s', c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl,
                      c.relrowsecurity, c.reloptions)
        from pg_class c join ours on ours.oid = c.relnamespace
        union all
        select format('column %s %s %s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
                      a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attacl)
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'v')
        join ours on ours.oid = c.relnamespace
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attnum > 0 and not a.attisdropped
        union all
        select format('index %s', pg_get_indexdef(i.indexrelid))
        from pg_index i join pg_class c on c.oid = i.indexrelid join ours on ours.oid = c.relnamespace
        union all
        select format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid))
        from pg_class c join ours on ours.oid = c.relnamespace where c.relkind = 'v'
        union all
        select format('constraint %s %s %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
        from pg_constraint k join ours on ours.oid = k.connamespace
        union all
        select format('trigger %s %s', t.tgenabled, pg_get_triggerdef(t.oid))
        from pg_trigger t join pg_class c on c.oid = t.tgrelid join ours on ours.oid = c.relnamespace
        where not t.tgisinternal
        union all
        select format('function %s %s %s', f.oid::regprocedure, f.proowner::regrole, f.proacl) || pg_get_functiondef(f.oid)
        from pg_proc f join ours on ours.oid = f.pronamespace
        union all
        select format('enum %s %s', e.enumtypid::regtype, e.enumlabel)
        from pg_enum e join pg_type t on t.oid = e.enumtypid join ours on ours.oid = t.typnamespace
        union all
        select format('policy %s', to_jsonb(p)) from pg_policies p join ours on ours.nspname = p.schemaname
    ) lines
    order by line";
