BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE artifact (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	folder TEXT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_artifact PRIMARY KEY (id), 
	CONSTRAINT fk_artifact_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id) ON DELETE CASCADE, 
	CONSTRAINT uq_artifact_trial_id UNIQUE (trial_id)
);
INSERT INTO "artifact" VALUES(1,1,'/artifacts/digits/trial-0','2026-11-22T18:39:56.861+00:00');
INSERT INTO "artifact" VALUES(2,2,'/artifacts/digits/trial-1','2026-11-22T18:39:56.948+00:00');
CREATE TABLE front (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	after_trial_id INTEGER NOT NULL, 
	hypervolume DOUBLE NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_front PRIMARY KEY (id), 
	CONSTRAINT fk_front_study_id FOREIGN KEY(study_id) REFERENCES study (id) ON DELETE CASCADE, 
	CONSTRAINT fk_front_after_trial_id FOREIGN KEY(after_trial_id) REFERENCES trial (id) ON DELETE CASCADE
);
INSERT INTO "front" VALUES(1,1,2,0.1,'2026-11-22T18:39:56.967+00:00');
CREATE TABLE front_member (
	front_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	CONSTRAINT pk_front_member PRIMARY KEY (front_id, position), 
	CONSTRAINT fk_front_member_front_id FOREIGN KEY(front_id) REFERENCES front (id) ON DELETE CASCADE, 
	CONSTRAINT fk_front_member_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id) ON DELETE CASCADE, 
	CONSTRAINT uq_front_member_front_id_trial_id UNIQUE (front_id, trial_id)
);
INSERT INTO "front_member" VALUES(1,0,2);
CREATE TABLE measurement (
	trial_id INTEGER NOT NULL, 
	objective VARCHAR(100) NOT NULL, 
	rung INTEGER NOT NULL, 
	value DOUBLE, 
	CONSTRAINT pk_measurement PRIMARY KEY (trial_id, objective, rung), 
	CONSTRAINT fk_measurement_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id) ON DELETE CASCADE
);
INSERT INTO "measurement" VALUES(1,'score',1,0.5);
INSERT INTO "measurement" VALUES(1,'train_loss',1,1.0);
INSERT INTO "measurement" VALUES(1,'score',2,0.625);
INSERT INTO "measurement" VALUES(1,'train_loss',2,0.5);
INSERT INTO "measurement" VALUES(1,'seconds',0,2.5);
INSERT INTO "measurement" VALUES(1,'test_score',0,0.6);
INSERT INTO "measurement" VALUES(2,'score',1,0.75);
INSERT INTO "measurement" VALUES(2,'seconds',0,3.0);
INSERT INTO "measurement" VALUES(4,'score',1,0.25);
INSERT INTO "measurement" VALUES(5,'score',1,0.5);
INSERT INTO "measurement" VALUES(5,'train_loss',1,NULL);
CREATE TABLE study (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	settings JSON NOT NULL, 
	parameter_limit BIGINT NOT NULL, 
	space TEXT NOT NULL, 
	reference_score DOUBLE, 
	created_at VARCHAR(32) NOT NULL, 
	lease_owner TEXT, 
	lease_host TEXT, 
	lease_pid INTEGER, 
	lease_process_start TEXT, 
	lease_heartbeat_at VARCHAR(32), 
	CONSTRAINT pk_study PRIMARY KEY (id), 
	CONSTRAINT uq_study_name UNIQUE (name)
);
INSERT INTO "study" VALUES(1,'digits','{"seed": 1, "budget": "0.5%"}',1000,'autopeft',0.625,'2026-11-22T18:39:56.746+00:00','1-abc','elsewhere',1,'22','2026-11-22T18:39:56.773+00:00');
CREATE TABLE trial (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	configuration JSON NOT NULL, 
	configuration_key VARCHAR(16) NOT NULL, 
	trainable BIGINT NOT NULL, 
	seed BIGINT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	attempt INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	details JSON NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	started_at VARCHAR(32), 
	finished_at VARCHAR(32), 
	CONSTRAINT pk_trial PRIMARY KEY (id), 
	CONSTRAINT fk_trial_study_id FOREIGN KEY(study_id) REFERENCES study (id) ON DELETE CASCADE, 
	CONSTRAINT uq_trial_study_id_number UNIQUE (study_id, number), 
	CONSTRAINT uq_trial_study_id_kind_configuration_key_seed UNIQUE (study_id, kind, configuration_key, seed)
);
INSERT INTO "trial" VALUES(1,1,0,'head-only','{"modules": [], "learning_rate": 0.001}','2d62980308230985',0,1,'complete',1,'','{"threads": 1}','2026-11-22T18:39:56.795+00:00','2026-11-22T18:39:56.819+00:00','2026-11-22T18:39:56.861+00:00');
INSERT INTO "trial" VALUES(2,1,1,'search','{"modules": [{"type": "lora", "size": 1, "layers": [0, 1], "alpha": 16, "sites": ["q", "v"]}], "learning_rate": 0.001}','0f37aea495bed497',100,1,'complete',1,'','{}','2026-11-22T18:39:56.878+00:00','2026-11-22T18:39:56.930+00:00','2026-11-22T18:39:56.948+00:00');
INSERT INTO "trial" VALUES(3,1,2,'search','{"modules": [{"type": "lora", "size": 2, "layers": [0, 1], "alpha": 16, "sites": ["q", "v"]}], "learning_rate": 0.001}','deb887eb9240f0f5',200,1,'failed',1,'out of memory','{}','2026-11-22T18:39:56.891+00:00','2026-11-22T18:39:56.976+00:00','2026-11-22T18:39:56.989+00:00');
INSERT INTO "trial" VALUES(4,1,3,'search','{"modules": [{"type": "lora", "size": 4, "layers": [0, 1], "alpha": 16, "sites": ["q", "v"]}], "learning_rate": 0.001}','b313b652eaaab9d0',400,1,'stopped',1,'','{}','2026-11-22T18:39:56.903+00:00','2026-11-22T18:39:56.993+00:00','2026-11-22T18:39:57.015+00:00');
INSERT INTO "trial" VALUES(5,1,4,'search','{"modules": [{"type": "lora", "size": 8, "layers": [0, 1], "alpha": 16, "sites": ["q", "v"]}], "learning_rate": 0.001}','3f4e333899e6f5d4',800,1,'running',1,'','{}','2026-11-22T18:39:56.914+00:00','2026-11-22T18:39:57.021+00:00',NULL);
INSERT INTO "trial" VALUES(6,1,5,'search','{"modules": [{"type": "lora", "size": 16, "layers": [0, 1], "alpha": 16, "sites": ["q", "v"]}], "learning_rate": 0.001}','60694d397805fad5',1600,1,'waiting',0,'','{}','2026-11-22T18:39:56.926+00:00',NULL,NULL);
CREATE INDEX ix_trial_study_id_status ON trial (study_id, status);
CREATE INDEX ix_front_study_id ON front (study_id);
COMMIT;
