"""What Alembic runs for a migration: on the connection, and in the transaction, that `engine.migrate` began."""

from alembic import context

from autopeft.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
