-- What devart is compared with: the same transactions on tables with nothing but what they need.
create schema bare;

-- A queue: claimed by an update, done by another.
create table bare.queue (
    id uuid primary key default devart.uuid_v7(),
    lane_id int not null default 1,
    priority int not null default 3,
    status int not null default 0,
    title text not null default 'bench',
    payload jsonb not null default '{}',
    ready_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create index on bare.queue (lane_id, priority, ready_at) where status = 0;

-- A table that is only inserted into.
create table bare.plain (like bare.queue including all);

-- The same, where each insert wakes listeners: through devart, and by plain NOTIFY.
create table bare.woken (like bare.plain including all);
create trigger wake after insert on bare.woken for each statement execute function devart_private.wake_listeners('bench');

create table bare.notified (like bare.plain including all);
create function bare.notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('devart_bench', '');
    return null;
end
$$;
create trigger notify after insert on bare.notified for each statement execute function bare.notify();

-- A thousand tasks as one argument, for bulk creation.
create table bare.bulk as
select jsonb_agg(jsonb_build_object('title', 'bench ' || n)) as tasks from generate_series(1, 1000) n;
