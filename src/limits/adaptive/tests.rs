use super::*;
use proptest::prelude::*;

/// A window of answers that took `ratio` times what is usual.
fn window(ratio: f64, most: u32, is_reached: bool) -> Window {
    let answers = most.max(LEAST_ANSWERS);
    let usual = 300.0 * f64::from(answers);
    Window { answers, is_failing: false, comparable: answers, compared: answers, took: usual * ratio, usual, most, is_reached }
}

/// A search that has found so much.
fn at(limit: u32) -> Search {
    let mut search = Search::new(1000, None);
    search.limit = f64::from(limit);
    search.known_good = f64::from(limit);
    search
}

#[test]
fn begins_at_the_floor_and_grows_fast_until_answers_take_longer() {
    let mut search = Search::new(32, None);
    assert_eq!(search.limit(), 4);
    for limit in [8, 16, 32, 32] {
        search.conclude(&window(1.0, search.limit(), true));
        assert_eq!(search.limit(), limit);
    }
    assert_eq!(Search::new(2, None).limit(), 2);
    assert_eq!(Search::new(0, None).limit(), 1);
    assert_eq!((Search::new(10, Some(20)).limit(), Search::new(10, Some(7)).limit()), (10, 7), "after a reload");
}

#[test]
fn grows_by_one_where_it_has_been_too_much_before() {
    let mut search = at(20);
    search.conclude(&window(2.6, 20, true));
    assert_eq!(search.limit(), 10);
    for limit in [11, 12, 13] {
        assert_eq!(search.conclude(&window(1.1, search.limit(), true)), Finding::Changed);
        assert_eq!(search.limit(), limit);
    }
}

#[test]
fn does_not_grow_while_nobody_waits_for_it() {
    let mut search = at(10);
    assert_eq!(search.conclude(&window(1.0, 10, false)), Finding::Same);
    assert_eq!(search.limit(), 10);
}

#[test]
fn a_decrease_begins_at_what_was_really_there() {
    let mut search = at(500);
    search.conclude(&window(2.6, 20, false));
    assert_eq!(search.limit(), 10);
}

#[test]
fn what_answers_take_at_the_floor_is_usual_and_what_held_before_is_soon_tried_again() {
    let mut search = at(20);
    let mut limits = Vec::new();
    while search.limit() > 4 {
        assert_eq!(search.conclude(&window(1.8, search.limit(), true)), Finding::Changed);
        limits.push(search.limit());
    }
    assert_eq!(limits, [14, 4], "a decrease that does not help is no way");
    assert_eq!(search.conclude(&window(1.8, 4, true)), Finding::Slower(1.8));
    for limit in [8, 16, 20, 21] {
        search.conclude(&window(1.0, search.limit(), true));
        assert_eq!(search.limit(), limit);
    }
}

#[test]
fn a_decrease_goes_on_until_it_has_helped() {
    let mut search = at(24);
    let (mut limit, mut rounds) = (24, 0);
    while limit > 6 {
        // Four workers.
        let finding = search.conclude(&window(f64::from(limit) / 4.0, limit, true));
        assert_eq!(finding, Finding::Changed, "{limit}");
        limit = search.limit();
        rounds += 1;
    }
    assert!(rounds <= 3, "{rounds}");
}

#[test]
fn one_odd_answer_among_many_is_not_overload() {
    assert_eq!(counted(20_000.0, 890.0), OUTLIER * (TOLERANCE * 890.0 + SLACK_MS));
    let usual = 15.0 * 890.0 + 890.0;
    let odd = Window {
        answers: 16,
        is_failing: false,
        comparable: 16,
        compared: 16,
        took: 15.0 * 890.0 + counted(20_000.0, 890.0),
        usual,
        most: 4,
        is_reached: true,
    };
    assert!(odd.excess() < 1.1, "{}", odd.excess());
}

#[test]
fn a_dear_search_is_not_overload_and_a_slow_read_is() {
    let of = |took: f64, usual: f64| {
        let mut search = at(20);
        let took = counted(took, usual);
        search.conclude(&Window {
            answers: 20,
            is_failing: false,
            comparable: 20,
            compared: 20,
            took: took * 20.0,
            usual: usual * 20.0,
            most: 20,
            is_reached: true,
        });
        search.limit()
    };
    assert_eq!(of(900.0, 890.0), 21);
    assert_eq!(of(900.0, 30.0), 10);
    assert_eq!(of(4.0, 1.0), 21, "what nobody notices is none");
}

#[test]
fn classes_of_which_nothing_is_known_say_nothing() {
    let mut search = at(20);
    let strange =
        Window { answers: 20, is_failing: false, comparable: 20, compared: 9, took: 9e9, usual: 9.0, most: 20, is_reached: true };
    assert_eq!(search.conclude(&strange), Finding::Same);
    assert_eq!(search.limit(), 20);
}

/// A window in which OpenEMR says that it is overloaded.
fn failing(most: u32) -> Window {
    Window { is_failing: true, most, ..window(1.0, 20, true) }
}

#[test]
fn what_goes_wrong_with_few_requests_says_nothing_about_many() {
    let mut search = at(26);
    assert_eq!(search.conclude(&failing(1)), Finding::Same);
    assert_eq!(search.conclude(&window(3.0, 2, false)), Finding::Slower(3.0));
    assert_eq!(search.limit(), 26);
}

#[test]
fn an_openemr_that_was_away_comes_back_as_it_was() {
    let mut search = at(40);
    for _ in 0..20 {
        search.conclude(&failing(search.limit()));
    }
    assert_eq!(search.limit(), 4);
    for limit in [8, 16, 28] {
        search.conclude(&window(1.0, search.limit(), true));
        assert_eq!(search.limit(), limit);
    }
    search.conclude(&window(1.0, 28, true));
    assert_eq!(search.limit(), 29, "and from there it is felt for");
}

proptest! {
    #[test]
    fn never_above_the_ceiling_and_never_below_the_floor(
        ceiling in 0_u32..200, events in proptest::collection::vec((0.0_f64..8.0, 0_u32..300, any::<bool>(), any::<bool>()), 0..200)
    ) {
        let mut search = Search::new(ceiling, None);
        for (ratio, most, is_reached, is_error) in events {
            if is_error {
                search.conclude(&failing(most));
            } else {
                search.conclude(&window(ratio, most, is_reached));
            }
            prop_assert!(search.limit() >= FLOOR.min(ceiling.max(1)));
            prop_assert!(search.limit() <= ceiling.max(1));
        }
    }
}
