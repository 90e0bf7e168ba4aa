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
      and not coalesce((p_payload #>> '{pull_request,draft}')::boolean, false)
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

-- Takes a verified delivery. Returns status (accepted, duplicate, ignored), task_id and reason.
-- A delivery and its task commit together, so a failure does not burn the delivery's id.
-- Errors: 22023 the payload is not what GitHub sends.
create or replace function devart_private.receive_github_delivery(
    delivery_id text, event text, payload jsonb
)
returns jsonb language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    v_subject text := devart_private.github_subject(event, payload);
    v_status text := case when v_subject is null then 'ignored' else 'accepted' end;
    v_task_id uuid;
begin
    if event = 'pull_request' and payload #>> '{pull_request,head,sha}' is null then
        perform devart_private.refuse_argument('payload', 'must have pull_request.head.sha');
    end if;
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
            'status', 'ignored', 'task_id', null, 'reason', 'no task is made of this event');
    end if;
    v_task_id := devart_private.create_review_task(payload);
    update devart_private.webhook_deliveries d set task_id = v_task_id
    where d.source = 'github' and d.delivery_id = receive_github_delivery.delivery_id;
    return jsonb_build_object('status', 'accepted', 'task_id', v_task_id, 'reason', null);
end
$$;
