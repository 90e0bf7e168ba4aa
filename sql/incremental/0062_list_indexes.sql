-- Lists of approvals by status (425_approval_lists.sql), newest first; and of the tasks that wait
-- for money those that some room can pay (350_money_waits.sql).

set local role devart_owner;

-- The id as bytes, as in tasks_list_idx.
create index approvals_list_idx on devart.approvals (status, uuid_send(id));

create index budget_waits_need_idx on devart_private.budget_waits (scope_id, needed_usd);
drop index devart_private.budget_waits_scope_idx;
