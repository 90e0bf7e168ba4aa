select (devart.create_task('bench')).id;
