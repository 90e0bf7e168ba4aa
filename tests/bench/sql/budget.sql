-- What charging is compared with: a sum per account and a ledger, with nothing but what they need.
create table bare.account (id int primary key, spent numeric(18, 6) not null default 0) with (fillfactor = 50);
insert into bare.account (id) select n from generate_series(0, 15) n;
create table bare.ledger (
    id uuid primary key default devart.uuid_v7(),
    account int not null,
    amount numeric(18, 6) not null,
    created_at timestamptz not null default now()
);

-- One service per client, with ids that a script can put together, and a budget that no run uses up.
insert into devart.service_registry (id, name, budget_usd)
select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'bench ' || n, 1000000000 from generate_series(0, 15) n;
