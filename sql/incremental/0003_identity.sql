-- People: their accounts and what each may do.
-- On Supabase, auth.users exists and belongs to Supabase Auth; elsewhere this is the embedded issuer's table.

set local role devart_owner;

create table if not exists auth.users (
    id uuid primary key default gen_random_uuid(),
    email text not null constraint users_email_key unique constraint users_email_check check (email like '%_@_%'),
    -- Argon2id in PHC string format; null for people who only come in by GitHub.
    encrypted_password text,
    created_at timestamptz not null default now()
);

create table devart.user_roles (
    user_id uuid primary key references auth.users (id) on delete cascade,
    role devart.app_role not null default 'viewer',
    created_at timestamptz not null default now()
);
comment on table devart.user_roles is 'What a person may do; read at every request, so a demotion is immediate.';
