-- A store's first rows, in tables of Rattail's own.
INSERT INTO setting (name, value)
SELECT 'poser.setting_' || n, 'value ' || n FROM generate_series(1, 40) n;

INSERT INTO person (uuid, first_name, last_name, display_name)
SELECT md5('person' || n), 'Fred' || n, 'Flint', 'Fred' || n || ' Flint' FROM generate_series(1, 60) n;

INSERT INTO product (uuid, upc, description, size, unit_of_measure, weighed, organic, not_for_sale, discontinued, deleted,
                     discountable, special_order)
SELECT md5('product' || n), 74305000000 + n, 'Vinegar No. ' || n, '32 oz', '01', false, n % 2 = 0, false, false, false,
       true, false
FROM generate_series(1, 200) n;
