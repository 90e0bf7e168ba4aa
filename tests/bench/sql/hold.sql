select devart.reserve_charge(('00000000-0000-7000-8000-' || lpad(:client_id::text, 12, '0'))::uuid, 0.02) ->> 'hold_id' as hold \gset
select devart.settle_charge(:hold, 0.01);
