-- GitHub deliveries. The signature is checked by whoever received the raw bytes (the API, or
-- devart.verify_github_signature); here a delivery becomes a task, once.

-- What a pull request event is about; null for actions that need no review.
create or replace function devart_private.github_subject(p_event text, p_payload jsonb)
returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select concat_ws(' ',
        p_payload #>> '{repository,full_name}', '#' || (p_payload #>> '{pull_request,number}'),
        p_payload #>> '{pull_request,head,sha}', p_payload ->> 'action')
    where p_event = 'pull_request'
      and p_payload ->> 'action' in ('opened', 'reopened', 'synchronize', 'ready_for_review')
      and coalesce(p_payload #> '{pull_request,draft}', 'false') <> 'true'
$$;

-- The part of a pull request that a reviewing agent starts from.
create or replace function devart_private.github_task_payload(p_payload jsonb)
returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'source', 'github',
        'action', p_payload ->> 'action',
        'repository', p_payload #>> '{repository,full_name}',
        'pull_number', p_payload #> '{pull_request,number}',
        'title', p_payload #>> '{pull_request,title}',
        'body', left(p_payload #>> '{pull_request,body}', 20000),
        'url', p_payload #>> '{pull_request,html_url}',
        'author', p_payload #>> '{pull_request,user,login}',
        'head_sha', p_payload #>> '{pull_request,head,sha}',
        'head_ref', p_payload #>> '{pull_request,head,ref}',
        'base_ref', p_payload #>> '{pull_request,base,ref}',
        'additions', p_payload #> '{pull_request,additions}',
        'deletions', p_payload #> '{pull_request,deletions}',
        'changed_files', p_payload #> '{pull_request,changed_files}',
        'installation_id', p_payload #> '{installation,id}'
    )
$$;

-- Makes the CRITICAL "Code Review" task of a pull request.
create or replace function devart_private.create_review_task(p_payload jsonb)
returns uuid language sql
set search_path = pg_catalog, pg_temp as $$
    insert into devart.tasks (title, description, priority, required_capabilities, payload)
    values (
        left(format('Code Review: %s#%s %s', p_payload #>> '{repository,full_name}',
                    p_payload #>> '{pull_request,number}', p_payload #>> '{pull_request,title}'),
             500),
        p_payload #>> '{pull_request,html_url}', 'CRITICAL', '{code-review}',
        devart_private.github_task_payload(p_payload))
    returning id
$$;

-- Cancels what is left of these reviews.
create or replace function devart_private.cancel_reviews(p_task_ids uuid[], p_reason text)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update devart.tasks t
    set status = 'CANCELLED', finished_at = now(), lease_token = null, lease_expires_at = null,
        last_error = p_reason
    where t.id = any (p_task_ids)
      and t.status in ('BLOCKED', 'AWAITING_APPROVAL', 'SCHEDULED', 'TODO', 'IN_PROGRESS');
    return found;
end
$$;

-- GitHub's time of an event; now when it tells none, or none that there is.
create or replace function devart_private.github_time(p_payload jsonb)
returns timestamptz language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if p_payload #>> '{pull_request,updated_at}'
       ~ '^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$' then
        return (p_payload #>> '{pull_request,updated_at}')::timestamptz;
    end if;
    return now();
exception when datetime_field_overflow then
    return now();
end
$$;

-- What names a repository or a pull request, as short as an index wants it: a long text as its
-- digest, since two that begin alike are not the same.
create or replace function devart_private.github_name(p_name text)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select case
        when octet_length(p_name) <= 200 then p_name
        else 'sha256:' || encode(sha256(convert_to(p_name, 'UTF8')), 'hex')
    end
$$;

-- The repository of a delivery: its id, which a new name does not change, or else its name.
create or replace function devart_private.github_repository(p_payload jsonb)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select devart_private.github_name(coalesce(
        p_payload #>> '{repository,id}', p_payload #>> '{repository,full_name}', ''))
$$;

create or replace function devart_private.github_pull_number(p_payload jsonb)
returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select devart_private.github_name(coalesce(p_payload #>> '{pull_request,number}', ''))
$$;

-- Notes a pull request's event and cancels the reviews that it outdates: those of older heads, and
-- all of them once it is closed, merged or a draft again. Returns a reason to make no task of the
-- event, or null. Events of one pull request wait for each other here.
create or replace function devart_private.follow_pull_request(p_payload jsonb)
returns text language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_action text := p_payload ->> 'action';
    v_head text := p_payload #>> '{pull_request,head,sha}';
    v_repository text := devart_private.github_repository(p_payload);
    v_number text := devart_private.github_pull_number(p_payload);
    v_before devart_private.pull_requests;
    v_why text := case
        when v_action = 'converted_to_draft' then 'the pull request is a draft again'
        when v_action = 'closed' and p_payload #>> '{pull_request,merged}' = 'true'
            then 'the pull request was merged'
        when v_action = 'closed' then 'the pull request was closed'
    end;
begin
    if v_why is null and coalesce(v_action, '') not in (
        'opened', 'reopened', 'synchronize', 'ready_for_review') then
        return 'no task is made of this event';
    end if;
    insert into devart_private.pull_requests as p (repository, number, head_sha, updated_at)
    values (v_repository, v_number, v_head, '-infinity')
    on conflict do nothing;
    select p.* into v_before from devart_private.pull_requests p
    where p.repository = v_repository and p.number = v_number
    for update;
    if v_before.updated_at > devart_private.github_time(p_payload) then
        return 'the pull request has changed since';
    end if;
    if v_why is null and v_before.head_sha <> v_head then
        v_why := format('the pull request has a newer head: %s', left(v_head, 100));
    end if;
    update devart_private.pull_requests p
    set head_sha = v_head, updated_at = devart_private.github_time(p_payload),
        task_ids = case when v_why is null then p.task_ids else '{}' end
    where p.repository = v_repository and p.number = v_number;
    if v_why is not null and devart_private.cancel_reviews(v_before.task_ids, v_why)
       and v_action in ('closed', 'converted_to_draft') then
        return format('%s: its review was cancelled', v_why);
    end if;
    return case when devart_private.github_subject('pull_request', p_payload) is null
        then 'no task is made of this event' end;
end
$$;

-- Takes a verified delivery. Returns status (accepted, duplicate, ignored), task_id and reason.
-- A newer head, and a pull request that is closed, merged or a draft again, cancels the reviews of
-- before; events that come after newer ones make no task.
-- A delivery and its task commit together, so a failure does not burn the delivery's id.
-- Errors: 22023 the payload is not what GitHub sends, or an argument is too long.
create or replace function devart_private.receive_github_delivery(
    delivery_id text, event text, payload jsonb
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_subject text := devart_private.github_subject(event, payload);
    v_ignored text := 'no task is made of this event';
    v_status text;
    v_task_id uuid;
begin
    if event = 'pull_request' and payload #>> '{pull_request,head,sha}' is null then
        perform devart_private.refuse_argument('payload', 'must have pull_request.head.sha');
    end if;
    perform devart_private.check_length('delivery_id', receive_github_delivery.delivery_id, 200);
    perform devart_private.check_length('event', receive_github_delivery.event, 100);
    -- It is looked up in an index, whose entries are short.
    if octet_length(v_subject) > 2000 then
        perform devart_private.refuse_argument(
            'payload', 'must not take more than 2,000 bytes for repository, number and head.sha');
    end if;
    if event = 'pull_request' then
        v_ignored := devart_private.follow_pull_request(payload);
    end if;
    v_status := case when v_ignored is null then 'accepted' else 'ignored' end;
    insert into devart_private.webhook_deliveries (source, delivery_id, event, subject, status)
    values ('github', receive_github_delivery.delivery_id, receive_github_delivery.event,
            v_subject, v_status)
    on conflict do nothing;
    if not found then
        select d.task_id into v_task_id from devart_private.webhook_deliveries d
        where d.source = 'github'
          and (d.delivery_id = receive_github_delivery.delivery_id
               or (d.subject = v_subject and d.status = 'accepted'))
        limit 1;
        return jsonb_build_object(
            'status', 'duplicate', 'task_id', v_task_id, 'reason', 'delivered before');
    end if;
    if v_status = 'ignored' then
        return jsonb_build_object(
            'status', 'ignored', 'task_id', null, 'reason', v_ignored);
    end if;
    v_task_id := devart_private.create_review_task(payload);
    update devart_private.webhook_deliveries d set task_id = v_task_id
    where d.source = 'github' and d.delivery_id = receive_github_delivery.delivery_id;
    update devart_private.pull_requests p set task_ids = p.task_ids || v_task_id
    where p.repository = devart_private.github_repository(payload)
      and p.number = devart_private.github_pull_number(payload);
    return jsonb_build_object('status', 'accepted', 'task_id', v_task_id, 'reason', null);
end
$$;
