-- Closes every database that is ours to all but its owner and the superuser.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE pg_has_role(current_user, datdba, 'member') \gexec
