select devart.charge_service(('00000000-0000-7000-8000-' || lpad(:client_id::text, 12, '0'))::uuid, 0.01);
