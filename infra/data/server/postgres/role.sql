-- Makes the role that owns one service's database, and the database. Takes the psql variables role and database.
SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

-- Nobody signs in as the owner itself: it has a role for each password that is accepted.
ALTER ROLE :"role" NOLOGIN;

-- An administrator who is no superuser gives away only what is theirs.
SELECT format('GRANT %I TO current_user', :'role') WHERE NOT pg_has_role(current_user, :'role', 'member') \gexec

SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', datname, :'role') FROM pg_database
WHERE datname = :'database' AND pg_get_userbyid(datdba) <> :'role' \gexec
