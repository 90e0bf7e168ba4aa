select id from devart.create_task('bench');
