// SPDX-License-Identifier: GPL-2.0-or-later
package testbed;

import com.google.common.base.Function;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.ListenableFuture;
import java.util.concurrent.Executor;

/** What the mended class of Debian's Android plugin calls in the place of guava's `Futures`. */
public class Awaiting {
    public static <T> ListenableFuture<T> immediateFuture(T value) {
        return Futures.immediateFuture(value);
    }

    /** As guava's, but where the function gives a future, its value is what counts. */
    @SuppressWarnings("unchecked")
    public static <I, O> ListenableFuture<O> transform(
            ListenableFuture<I> input, Function<? super I, ?> function, Executor executor) {
        return Futures.transformAsync(
                input,
                value -> {
                    Object given = function.apply(value);
                    boolean isFuture = given instanceof ListenableFuture;
                    return (ListenableFuture<O>) (isFuture ? given : immediateFuture(given));
                },
                executor);
    }
}
