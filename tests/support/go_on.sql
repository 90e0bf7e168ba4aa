-- Ends everything that people have stopped, paused or put off.
select devart.resume_work();
select devart.resume(s.scope::text, s.scope_id) from devart.stops s where s.scope <> 'all';
select devart.defer_service(s.id, now() - interval '1 second')
from devart.service_registry s where s.deferred_until > now();
