-- What was last heard of each pull request, so that reviews of older heads are cancelled and events
-- that come late are known as such.

set local role devart_owner;

create table devart_private.pull_requests (
    -- The repository's id, which a new name does not change, and the pull request's number.
    repository text not null,
    number text not null,
    head_sha text not null,
    -- GitHub's time of the newest event.
    updated_at timestamptz not null,
    -- Reviews that were asked for and not cancelled.
    task_ids uuid[] not null default '{}',
    primary key (repository, number)
);
