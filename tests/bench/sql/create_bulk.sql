select count(*) from bare.bulk, devart.create_tasks(bulk.tasks);
